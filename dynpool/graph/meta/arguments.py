"""The arguments of an operation by name."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["bind"]


@functools.cache
def _defaults(func: Any) -> dict[str, Any]:
    return {argument.name: argument.default_value for argument in func._schema.arguments}


def bind(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of the operation, defaults included, in the order of the schema."""
    defaults = _defaults(func)
    return {**defaults, **dict(zip(defaults, args, strict=False)), **kwargs}
