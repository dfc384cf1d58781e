"""Checksums in the files of a run: of a table row, a JSON object or a text. Files of earlier versions have none."""

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
"""The key or column that holds the checksum of all others."""

HEADING = "# checksum of the lines below: "


def with_checksum(values: Mapping[str, V]) -> dict[str, V | str]:
    """The values with the CRC-32 of their JSON (keys included) added as the last one."""
    return {**values, CHECKSUM: _crc(json.dumps(values))}


def is_intact(values: Mapping[str, object]) -> bool | None:
    """Whether the values match their checksum; None if they have none."""
    others = {key: value for key, value in values.items() if key != CHECKSUM}
    return None if CHECKSUM not in values else values[CHECKSUM] == _crc(json.dumps(others))


def with_heading(text: str) -> str:
    """The text with a first line added that holds its checksum, as a YAML comment."""
    return f"{HEADING}{_crc(text)} (remove this line if you change them)\n{text}"


def text_is_intact(text: str) -> bool | None:
    """Whether a text matches the checksum in its first line; None if it has no such line."""
    first, _, rest = text.partition("\n")
    return None if not first.startswith(HEADING) else with_heading(rest) == text


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, as a hexadecimal string."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
