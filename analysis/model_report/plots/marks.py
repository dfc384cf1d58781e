"""Marks and short texts of layers, the same in all plots and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...common.axis_names import one_or_all
from ...common.colors import UNDERUTILIZED, UNPRODUCTIVE
from ...common.statistics import format_field

if TYPE_CHECKING:
    from ...fields import FieldReport, LayerRow

__all__ = ["centre_unit", "field_text", "headline", "marks", "window_text"]


def marks(report: FieldReport) -> list[str]:
    """For each layer 'unproductive', 'underutilized' or an empty string."""
    mark = dict.fromkeys(report.underutilized, UNDERUTILIZED) | dict.fromkeys(report.unproductive, UNPRODUCTIVE)
    return [mark.get(row.name, "") for row in report.layers]


def headline(report: FieldReport) -> str:
    """The number of unproductive and underutilized layers, as a plot title."""
    size = "×".join(map(str, report.input_size[1:]))
    layers, unproductive = len(report.layers), len(report.unproductive)
    more = len(report.underutilized) - unproductive
    if unproductive:
        others = f", {more} more {'is' if more == 1 else 'are'} underutilized" if more else ""
        are = "is" if unproductive == 1 else "are"
        return f"{unproductive} of {layers} layers {are} unproductive at {size} pixels{others}"
    if more:
        return f"{more} of {layers} layers {'is' if more == 1 else 'are'} underutilized at {size} pixels"
    every = "The only layer is" if layers == 1 else f"All {layers} layers are" if layers else "No layer is"
    return f"{every} productive at {size} pixels"


def centre_unit(row: LayerRow) -> tuple[int, ...]:
    """Position of the centre unit of the layer's output."""
    return tuple(n // 2 for n in row.shape[-len(row.r_max) :])


def window_text(row: LayerRow) -> str:
    """Kernel and stride: '3x3 / 2'."""
    kernel = "x".join(map(format_field, row.kernel))
    stride = one_or_all(tuple(map(format_field, row.stride)))
    return kernel if stride == "1" else f"{kernel} / {stride}"


def field_text(row: LayerRow) -> str:
    """The receptive field: 'r 43–91', or 'r 43' where all paths agree; with a star if another path is global."""
    low, high = _pair(row.r_min), _pair(row.r_max_local)
    return (f"r {low}" if low == high else f"r {low}–{high}") + "*" * row.has_global_path


def _pair(values: Sequence[float]) -> str:
    return one_or_all(tuple(map(format_field, values)))
