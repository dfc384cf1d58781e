"""A receptive-field report as a sentence, a coloured table and CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from rich.table import Table

from ..common.axis_names import axis_names, one_or_all
from ..common.colors import UNDERUTILIZED, UNPRODUCTIVE
from ..common.statistics import format_field
from .plots.marks import marks

if TYPE_CHECKING:
    from ..fields import FieldReport

__all__ = ["table", "to_csv", "verdict"]

STYLES = {UNPRODUCTIVE: "bold red", UNDERUTILIZED: "dark_orange", "": ""}


def verdict(report: FieldReport) -> str:
    """The report in one sentence: '9 of 16 convolutions are unproductive at 32 pixels: 61 % of parameters, ...'."""
    size = one_or_all(tuple(map(str, report.input_size[1:])))
    marked = [mark for row, mark in zip(report.layers, marks(report), strict=True) if row.kind == "convolution"]
    unproductive = marked.count(UNPRODUCTIVE)
    convolutions = f"{len(marked)} convolution{'' if len(marked) == 1 else 's'}"
    if not marked:
        said = "no layer is a convolution with a local receptive field"
    elif not unproductive:
        i_min = one_or_all(tuple(map(format_field, report.i_min)))
        every = "the only convolution is" if len(marked) == 1 else f"all {convolutions} are"
        said = f"{every} productive at {size} pixels (I_min {i_min})"
        others = sum(mark == UNPRODUCTIVE for mark in marks(report))
        if others:
            said += f", {others} other layer{'' if others == 1 else 's'} {'is' if others == 1 else 'are'} not"
    else:
        parts = [
            f"{100 * spent / total:.0f} % of {word}"
            for word, spent, total in (
                ("parameters", report.unproductive_parameters, report.total_parameters),
                ("MACs", report.unproductive_macs, report.total_macs),
            )
            if total
        ]
        said = (
            f"{unproductive} of {convolutions} {'is' if unproductive == 1 else 'are'} unproductive at {size} pixels: "
        )
        said += ", ".join(parts)
    if report.behind_global:
        more = len(report.behind_global)
        said += f"; {more} more {'is' if more == 1 else 'are'} behind a global operation and not counted"
    if report.not_understood:
        said += f"; unreliable, as there is no rule for {', '.join(sorted(report.not_understood))}"
    return said[0].upper() + said[1:]


def table(report: FieldReport) -> Table:
    """The layers as a table for the terminal, unproductive ones red and underutilized ones orange."""
    found = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("layer", "kind"):
        found.add_column(name, overflow="fold")
    for name in ("kernel", "stride", "r_min", "r_max", "S", "output", "MACs", "parameters"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("", no_wrap=True)
    for row, mark in zip(report.layers, marks(report), strict=True):
        pixels = [
            one_or_all(tuple(map(format_field, values)))
            for values in (row.kernel, row.stride, row.r_min, row.r_max_local, row.effective_stride)
        ]
        pixels[3] += "*" * row.has_global_path
        counts = ("x".join(map(str, row.shape[1:])), f"{row.macs:,}", f"{row.parameters:,}")
        found.add_row(row.name, row.kind, *pixels, *counts, mark, style=STYLES[mark])
    return found


def to_csv(report: FieldReport) -> str:
    """CSV text with one row per layer and one column per quantity and axis (r_min_height, ...); 'inf' if infinite."""
    text = io.StringIO(newline="")
    names = axis_names(len(report.input_size) - 1)
    per_axis = ("kernel", "stride", "r_min", "r_max", "r_max_local", "effective_stride", "effective_padding", "centre")
    writer = csv.writer(text, lineterminator="\n")
    head = [f"{column}_{name}" for column in per_axis for name in names]
    writer.writerow(["layer", "kind", *head, "output", "macs", "parameters", "aligned", "mark"])
    for row, mark in zip(report.layers, marks(report), strict=True):
        values = [value for column in per_axis for value in getattr(row, column)]
        shape = "x".join(map(str, row.shape[1:]))
        writer.writerow([row.name, row.kind, *values, shape, row.macs, row.parameters, row.aligned, mark])
    return text.getvalue()
