"""Values of options, read from text."""

from __future__ import annotations

import argparse
import re

__all__ = ["image_size", "input_size"]


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


def image_size(text: str) -> tuple[int, ...]:
    """(C, H, W) from 32, 32,64 or 3,32,64.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    _, sizes = _read(text, r"\d+(,\d+){0,2}", "32, 32,64 or 3,32,64")
    return sizes if len(sizes) == 3 else (3, *(sizes * 2)[:2])


def _read(text: str, pattern: str, allowed: str) -> tuple[int | None, tuple[int, ...]]:
    if re.fullmatch(pattern, text):
        channels, colon, axes = text.rpartition(":")
        sizes = tuple(map(int, axes.split(",")))
        if min(sizes) > 0:
            return int(channels) if colon else None, sizes
    raise argparse.ArgumentTypeError(f"{text!r} is no input size; allowed: {allowed}, all above 0")
