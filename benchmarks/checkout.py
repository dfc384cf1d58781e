"""What is checked out, for the rows of results."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["commit"]


def commit() -> str:
    """The short hash, with a mark if files were changed since; empty where there is no git, or no checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
