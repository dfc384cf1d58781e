"""The line of an I_min log as named scalars for loggers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..common.axis_names import axis_names

__all__ = ["scalars"]


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """A line of `IMinTracker.log` as named scalars: {"i_min/height": 43.0, ..., "alpha/NAME/width": 2.0}.

    Infinite values are left out, as loggers cannot draw them.

    Example:
        >>> scalars({"step": 3, "i_min": [43.0, 45.0], "i_max": [math.inf, math.inf], "gmacs": 0.5,
        ...          "unproductive": 2, "alphas": {}, "sizes": {}})
        {'gmacs': 0.5, 'unproductive': 2.0, 'i_min/height': 43.0, 'i_min/width': 45.0}
    """
    named = {"gmacs": record["gmacs"], "unproductive": record["unproductive"]}
    pairs = {name: record[name] for name in ("i_min", "i_max", "i_max_local") if name in record}
    pairs |= {f"alpha/{name}": pair for name, pair in record["alphas"].items()}
    pairs |= {f"size/{name}": pair for name, pair in record["sizes"].items()}
    for name, pair in pairs.items():
        named |= {f"{name}/{axis}": value for axis, value in zip(axis_names(len(pair)), pair, strict=True)}
    return {name: float(value) for name, value in named.items() if math.isfinite(value)}
