"""How a layer that the input is too small for looks in every picture, and a layer in a few words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from analysis.axis_names import one_or_all

if TYPE_CHECKING:
    from analysis.receptive_field import LayerRow, ReceptiveFieldReport

__all__ = ["FILLS", "TEXTS", "UNDERUTILIZED", "UNPRODUCTIVE", "field_words", "mark_of", "number", "window_words"]

UNPRODUCTIVE, UNDERUTILIZED = "unproductive", "underutilized"
# Far apart in brightness as well as in hue, so that readers with any kind of colour blindness can tell them apart.
FILLS = MappingProxyType({UNPRODUCTIVE: "#A50F15", UNDERUTILIZED: "#F5A623", "": "#DCE6F1"})
TEXTS = MappingProxyType({UNPRODUCTIVE: "#ffffff", UNDERUTILIZED: "#1a1a1a", "": "#1a1a1a"})


def mark_of(report: ReceptiveFieldReport, name: str) -> str:
    """'unproductive', 'underutilized' or, for a layer that the input is large enough for, an empty string."""
    if name in report.unproductive:
        return UNPRODUCTIVE
    return UNDERUTILIZED if name in report.underutilized else ""


def number(value: float) -> str:
    """A receptive field rounded to 0.1, with the sign of infinity where it is global."""
    return f"{round(value, 1):g}" if math.isfinite(value) else "∞"


def window_words(row: LayerRow) -> str:
    """Kernel and stride: '3x3 / 2'."""
    kernel = "x".join(map(str, row.kernel))
    stride = one_or_all(tuple(map(number, row.stride)))
    return kernel if stride == "1" else f"{kernel} / {stride}"


def field_words(row: LayerRow) -> str:
    """The receptive field: 'r 43-91', or 'r 43' where all paths agree."""
    low, high = _pair(row.r_min), _pair(row.r_max)
    return f"r {low}" if low == high else f"r {low}–{high}"


def _pair(values: Sequence[float]) -> str:
    return one_or_all(tuple(map(number, values)))
