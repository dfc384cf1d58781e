"""What the commands with a configuration file have in common: train and compare."""

import argparse
import shlex
import sys
from pathlib import Path

from dynpool.training import INTERRUPTED, STOPPED, ConfigError, StoppedError

from .output import add_output_options

__all__ = ["config_path", "configured_parser", "ended"]


def configured_parser(kind: type, command: str) -> argparse.ArgumentParser:
    """The parser of a command's options, without CONFIG: the keys of its configuration, and those of all commands."""
    from dynpool.training import make_parser

    found = make_parser(kind, command)
    add_output_options(found)
    return found


def config_path(arguments: list[str], command: str) -> Path:
    """The configuration file, which is removed from the arguments.

    Raises:
        ConfigError: if the first argument is none.
    """
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError(f"dynpool {command} needs a configuration file: dynpool {command} CONFIG [--KEY VALUE ...]")
    return Path(arguments.pop(0))


def ended(error: KeyboardInterrupt | StoppedError, saved: str, command: str, config_file: Path, folder: Path) -> int:
    """Print what is saved of an interrupted run or comparison and how to continue it; returns the exit code."""
    interrupted = isinstance(error, KeyboardInterrupt)
    words = ["dynpool", command, str(config_file), "--out", str(folder), "--resume"]
    hint = f"; continue with: {shlex.join(words)}" if config_file.exists() else ""
    said = f"interrupted; {str(error) or saved}" if interrupted else str(error)
    print(f"dynpool: {said}{hint}", file=sys.stderr)
    return INTERRUPTED if interrupted else STOPPED
