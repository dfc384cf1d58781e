"""How a layer that the input is too small for looks in every picture, and a layer in a few words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...common.axis_names import one_or_all

if TYPE_CHECKING:
    from ...fields.report import FieldReport, LayerRow

__all__ = [
    "FILLS",
    "TEXTS",
    "UNDERUTILIZED",
    "UNPRODUCTIVE",
    "centre_unit",
    "field_words",
    "headline",
    "marks",
    "number",
    "window_words",
]

UNPRODUCTIVE, UNDERUTILIZED = "unproductive", "underutilized"
# Far apart in brightness as well as in hue, so that readers with any kind of colour blindness can tell them apart.
FILLS = MappingProxyType({UNPRODUCTIVE: "#A50F15", UNDERUTILIZED: "#F5A623", "": "#DCE6F1"})
TEXTS = MappingProxyType({UNPRODUCTIVE: "#ffffff", UNDERUTILIZED: "#1a1a1a", "": "#1a1a1a"})


def marks(report: FieldReport) -> list[str]:
    """By layer 'unproductive', 'underutilized' or, where the input is large enough for it, an empty string."""
    mark = dict.fromkeys(report.underutilized, UNDERUTILIZED) | dict.fromkeys(report.unproductive, UNPRODUCTIVE)
    return [mark.get(row.name, "") for row in report.layers]


def headline(report: FieldReport) -> str:
    """How many layers the input is too small for, as a title."""
    size = "×".join(map(str, report.input_size[1:]))
    layers, nothing_new = len(report.layers), len(report.unproductive)
    more = len(report.underutilized) - nothing_new
    if nothing_new:
        others = f", {more} more {'is' if more == 1 else 'are'} underutilized" if more else ""
        see = "sees" if nothing_new == 1 else "see"
        return f"{nothing_new} of {layers} layers {see} nothing new at {size} pixels{others}"
    if more:
        return f"{more} of {layers} layers {'is' if more == 1 else 'are'} underutilized at {size} pixels"
    every = "The one layer sees" if layers == 1 else f"All {layers} layers see" if layers else "No layer sees"
    return f"{every} something new at {size} pixels"


def centre_unit(row: LayerRow) -> tuple[int, ...]:
    """Position of the unit in the middle of the layer's output."""
    return tuple(n // 2 for n in row.shape[-len(row.r_max) :])


def number(value: float) -> str:
    """A receptive field rounded to 0.1, with the sign of infinity where it is global."""
    return f"{round(value, 1):g}" if math.isfinite(value) else "∞"


def window_words(row: LayerRow) -> str:
    """Kernel and stride: '3x3 / 2'."""
    kernel = "x".join(map(number, row.kernel))
    stride = one_or_all(tuple(map(number, row.stride)))
    return kernel if stride == "1" else f"{kernel} / {stride}"


def field_words(row: LayerRow) -> str:
    """The receptive field: 'r 43-91', or 'r 43' where all paths agree; with a star where another path is global."""
    low, high = _pair(row.r_min), _pair(row.r_max_local)
    return (f"r {low}" if low == high else f"r {low}–{high}") + "*" * row.has_global_path


def _pair(values: Sequence[float]) -> str:
    return one_or_all(tuple(map(number, values)))
