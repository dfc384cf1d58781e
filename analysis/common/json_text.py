"""Standard JSON, which has no infinities."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["strict_json"]


def strict_json(value: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """The value as standard JSON text with a newline; infinities and NaN are the strings "inf", "-inf" and "nan".

    Args:
        value: plain containers, strings and numbers.
        indent: spaces per level; None: all in one line.
    """
    return json.dumps(_without_infinities(value), indent=indent, allow_nan=False) + "\n"


def _without_infinities(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinities(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
