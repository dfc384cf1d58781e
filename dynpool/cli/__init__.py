"""The command line: dynpool train | compare | report | analyze | coverage | refine."""

from .commands import main

__all__ = ["main"]
