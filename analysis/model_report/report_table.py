"""A table of a report: as text, in colours, as HTML for notebooks, as CSV and as a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynpool.common.extras import optional

from ..common.atomic_files import write_whole
from ..common.axis_names import axis_names
from ..common.colors import FILLS, TEXTS, UNDERUTILIZED, UNPRODUCTIVE
from ..common.text_table import aligned
from .columns import Column
from .parts import Part

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table

__all__ = ["ReportTable"]

STYLES = {UNPRODUCTIVE: "bold red", UNDERUTILIZED: "dark_orange", "": ""}
INDENT = 2  # spaces per level


@dataclass(frozen=True)
class ReportTable:
    """Rows of a report: `str()` is text; notebooks show HTML; `to_csv()` and `to_frame()` give the values as data.

    Attributes:
        first: the heading of the first column, which has the names.
        columns: the columns by name.
        parts: the rows.
        ndim: the number of the input's spatial axes.
        title: a line above the table as HTML.
        notes: lines below it.
    """

    first: str
    columns: Mapping[str, Column]
    parts: tuple[Part, ...]
    ndim: int
    title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def _marked(self) -> bool:
        return any(column.startswith("r_m") for column in self.columns)

    def _cells(self, part: Part) -> list[str]:
        name = part.name.rpartition(".")[2] if part.depth else part.name
        cells = [column.show(part) for column in self.columns.values()]
        return [" " * (INDENT * part.depth) + name, *cells, *[part.mark] * self._marked]

    def _head(self) -> list[str]:
        return [self.first, *(column.heading or name for name, column in self.columns.items()), *[""] * self._marked]

    def _left(self) -> set[int]:
        head = self._head()
        return {0, *(i for i, c in enumerate(self.columns.values(), 1) if c.left), *[len(head) - 1] * self._marked}

    def __str__(self) -> str:
        return "\n".join([*self._lines(), *self.notes])

    def _lines(self) -> list[str]:
        return aligned([self._head(), *map(self._cells, self.parts)], left=self._left())

    @property
    def width(self) -> int:
        """The length of the longest row as text."""
        return max(map(len, self._lines()))

    def __rich__(self) -> Table:
        """The table for a terminal, unproductive layers red and underutilized ones orange; without the notes."""
        with optional():
            from rich.table import Table
        found = Table(box=None, header_style="bold", pad_edge=False)
        left = self._left()
        for index, name in enumerate(self._head()):
            names = index in left and name
            found.add_column(name, justify="left" if index in left else "right", no_wrap=not names, overflow="fold")
        for part in self.parts:
            found.add_row(*self._cells(part), style=STYLES[part.mark])
        return found

    def _repr_html_(self) -> str:
        """The table as HTML, in the colours of the plots, with its notes below."""
        left = self._left()

        def row(cells: list[str], tag: str, style: str = "") -> str:
            aligns = ("left" if i in left else "right" for i in range(len(cells)))
            shown = (
                f'<{tag} style="text-align:{align};white-space:pre;padding:2px 8px;{style}">{escape(cell)}</{tag}>'
                for align, cell in zip(aligns, cells, strict=True)
            )
            return f"<tr>{''.join(shown)}</tr>"

        def style(part: Part) -> str:
            return f"background:{FILLS[part.mark]};color:{TEXTS[part.mark]}" if part.mark else ""

        rows = "".join(row(self._cells(part), "td", style(part)) for part in self.parts)
        title = f"<p><b>{escape(self.title)}</b></p>" if self.title else ""
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return (
            f'{title}<div style="max-height:40em;overflow:auto"><table><thead>{row(self._head(), "th")}</thead>'
            f"<tbody>{rows}</tbody></table></div>{notes}"
        )

    def records(self) -> list[dict[str, Any]]:
        """One dict of values per row; what has several axes has an entry for each, such as r_min_height."""
        axes = axis_names(self.ndim)
        found = []
        for part in self.parts:
            record: dict[str, Any] = {self.first: part.name}
            if any(p.depth for p in self.parts):
                record["depth"] = part.depth
            for name, column in self.columns.items():
                value = column.value(part)
                if column.per_axis:
                    record |= {f"{name}_{axis}": v for axis, v in zip(axes, value or (None,) * self.ndim, strict=True)}
                else:
                    record[name] = value
            if self._marked:
                record["mark"] = part.mark
            found.append(record)
        return found

    def to_csv(self, path: str | Path | None = None) -> str:
        """The values as CSV text, also written to `path` if it is given; 'inf' where a field is infinite.

        Raises:
            OSError: if `path` cannot be written.
        """
        text, records = io.StringIO(newline=""), self.records()
        writer = csv.DictWriter(text, list(records[0]) if records else [self.first], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        if path is not None:
            write_whole(Path(path), text.getvalue().encode())
        return text.getvalue()

    def to_frame(self) -> DataFrame:
        """The values as a data frame of pandas."""
        with optional():
            import pandas as pd
        return pd.DataFrame(self.records())
