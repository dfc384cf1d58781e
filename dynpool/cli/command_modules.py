"""The commands, one module each: it has the function of the command's name, and `parser`, that of its options."""

import argparse
import importlib
from collections.abc import Callable
from typing import Any

from .output import Output

__all__ = ["COMMANDS", "command_parser", "find_command"]

COMMANDS = (
    "train", "compare", "report", "analyze", "inspect", "sensitivity", "coverage", "refine", "doctor", "completion",
)  # fmt: skip


def find_command(name: str) -> Callable[[list[str], Output], int]:
    """The function that runs a command of `COMMANDS`: of its arguments and the output, to the exit code."""
    found: Callable[[list[str], Output], int] = getattr(_module(name), name)
    return found


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of the options of a command of `COMMANDS`."""
    found: argparse.ArgumentParser = _module(name).parser()
    return found


def _module(name: str) -> Any:  # imported only when it is needed
    return importlib.import_module(f".{name}", __package__)
