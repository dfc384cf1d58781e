"""Rows appended to a CSV file of results, which keeps the columns that it began with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["append", "check_columns"]


def append(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows, and the header where the file is new; its lines end as they do already.

    Raises:
        ValueError: the file has other columns, or a row has.
    """
    check_columns(path, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", newline="", encoding="utf-8") as file:
        file.seek(0)
        first = file.readline()
        writer = csv.DictWriter(file, columns, lineterminator="\r\n" if first.endswith("\r\n") else "\n")
        if not first:
            writer.writeheader()
        writer.writerows(rows)


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise ValueError if the file is there and has other columns: measure nothing that could not be written."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        found = next(csv.reader(file), None)
    if found is not None and found != list(columns):
        raise ValueError(f"{path} has the columns {', '.join(found)}, not {', '.join(columns)}: remove it, or move it")
