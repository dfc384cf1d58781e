"""Checksums that the files of a run carry, so that a reader sees damage: one a row of a table, an object, a text.

A file of an earlier version carries none: it is read as it is, and said to be unverified.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

__all__ = ["CHECKSUM", "file_digest", "is_intact", "text_is_intact", "with_checksum", "with_heading"]

V = TypeVar("V")

CHECKSUM = "checksum"
"""The key, or the column, that holds the checksum of all others."""

HEADING = "# checksum of the lines below: "


def with_checksum(values: Mapping[str, V]) -> dict[str, V | str]:
    """The values as they are in JSON, with the CRC-32 of all of them, names included, as a last one."""
    return {**values, CHECKSUM: _crc(json.dumps(values))}


def is_intact(values: Mapping[str, object]) -> bool | None:
    """Whether the values agree with their checksum; None if they have none."""
    others = {key: value for key, value in values.items() if key != CHECKSUM}
    return None if CHECKSUM not in values else values[CHECKSUM] == _crc(json.dumps(others))


def with_heading(text: str) -> str:
    """The text below a first line that holds its checksum, a comment in YAML."""
    return f"{HEADING}{_crc(text)} (remove this line if you change them)\n{text}"


def text_is_intact(text: str) -> bool | None:
    """Whether a text agrees with the checksum in its first line; None if there is no such line."""
    first, _, rest = text.partition("\n")
    return None if not first.startswith(HEADING) else with_heading(rest) == text


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
