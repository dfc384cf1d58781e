"""The arguments of an operation by the names of its schema."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["bind"]


@functools.cache
def _defaults(func: Any) -> dict[str, Any]:
    return {argument.name: argument.default_value for argument in func._schema.arguments}


def bind(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Every argument that the operation has, in the schema's order; one that was not given has its default."""
    defaults = _defaults(func)
    return {**defaults, **dict(zip(defaults, args, strict=False)), **kwargs}
