"""The arguments of a command, read from text: unknown options are named with the nearest, every error is one line."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dynpool.common.names import nearest
from dynpool.training import ConfigError

from .output import add_output_options

__all__ = ["Parser", "count", "input_size", "pixels", "place", "seconds"]

OPTION = re.compile(r"--?[A-Za-z]")


def place(text: str) -> Path:
    """A file or folder, as the `type` of an option."""
    if not text:
        raise argparse.ArgumentTypeError("'' is not the name of a file or folder")
    return Path(text)


class Parser(argparse.ArgumentParser):
    """Options that must be written out in full, with those of all commands."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"dynpool {command}", description=description, allow_abbrev=False)
        add_output_options(self)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options in `arguments`.

        Raises:
            ConfigError: an option is unknown, or one lacks its value or has a bad one.
        """
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in itertools.takewhile(lambda word: word != "--", arguments):
            name = word.partition("=")[0]
            if OPTION.match(name) and name not in self._option_string_actions:
                raise ConfigError(f"unknown option {name!r}{nearest(name, known)}")
        return self.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        raise ConfigError(f"{message.removeprefix('argument ')} ({self.prog} --help lists all options)")


def count(text: str) -> int:
    """A number of things, as the `type` of an option."""
    if re.fullmatch(r"\d+", text) and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number above 0")


def pixels(text: str) -> int:
    """A number of pixels, as the `type` of an option."""
    if re.fullmatch(r"\d+", text) and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels; allowed: a whole number above 0")


def seconds(text: str) -> float:
    """A time, as the `type` of an option."""
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) and float(text) > 0:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds; allowed: a number above 0")


def input_size(text: str) -> tuple[int, ...]:
    """(C, extents...) from 32, 32,64 or 3,32,64, or from CHANNELS:SIZES, such as 1:16000, for any number of extents.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    allowed = "32, 32,64, 3,32,64 or CHANNELS:SIZES such as 1:16000"
    channels, sizes = _read(text, r"(\d+:)?\d+(,\d+){0,3}", allowed)
    if channels is not None:
        return (channels, *sizes)
    return sizes if len(sizes) > 2 else (3, *(sizes * 2)[:2])


def _read(text: str, pattern: str, allowed: str) -> tuple[int | None, tuple[int, ...]]:
    if re.fullmatch(pattern, text):
        channels, colon, axes = text.rpartition(":")
        sizes = tuple(map(int, axes.split(",")))
        if min(sizes) > 0:
            return int(channels) if colon else None, sizes
    raise argparse.ArgumentTypeError(f"{text!r} is not an input size; allowed: {allowed}, all above 0")
