"""Rows of coverage for models that `dynpool coverage` does not know by a name."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from dynpool.conversion.coverage import COLUMNS, cover

__all__ = ["Case", "write_rows"]

Case = tuple[str, nn.Module, tuple[int, ...], str]
"""Name, model, input size, and the device to run on: a real one, or "meta"."""


def write_rows(cases: Iterable[Case], path: Path) -> None:
    """Write the row of each model to a CSV file anew, and print what became of it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for name, model, size, device in cases:
            row = cover(name, model, size, device=device)
            row = replace(row, input_size="x".join(map(str, size)), device=device)
            writer.writerow(asdict(row))
            file.flush()
            print(row.model, row.status, row.converted, row.pinned, row.left_alone, row.why, row.message)
