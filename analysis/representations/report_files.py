"""The files of a report: JSON, CSV and PNG."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..common.atomic_files import write_whole
from ..common.json_text import strict_json
from ..common.style import to_png

__all__ = ["write_files"]


def write_files(
    folder: str | os.PathLike[str], name: str, data: Mapping[str, Any], rows: Iterable[Iterable[object]], figure: Figure
) -> list[Path]:
    """Write name.json, name.csv and name.png to a folder, which is created, and return their paths.

    Args:
        folder: where to write.
        name: of the files, without ending.
        data: for the JSON file.
        rows: for the CSV file, the header first.
        figure: for the PNG file.

    Raises:
        OSError: if they cannot be written.
    """
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    out = Path(folder)
    contents = {"json": strict_json(data).encode(), "csv": table.getvalue().encode(), "png": to_png(figure)}
    out.mkdir(parents=True, exist_ok=True)
    for ending, content in contents.items():
        write_whole(out / f"{name}.{ending}", content)
    return [out / f"{name}.{ending}" for ending in contents]
