"""The line of an I_min log as named numbers, as loggers of scalars want them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..common.axis_names import axis_names

__all__ = ["scalars"]


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """What `IMinTracker.log` returned as {"i_min/height": 43.0, ..., "alpha/NAME/width": 2.0}; no infinite value.

    Loggers draw no infinity, so that an infinite i_max is left out.

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
