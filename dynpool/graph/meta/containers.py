"""The tensors in the arguments of an ATen operation: values, and tuples, lists and dicts of them, nothing else.

PyTorch's pytrees handle any container, at ten times the cost; tracing needs this several times per operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["map_tensors", "tensors_in"]


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in `value`, in order, with repetitions."""
    found: list[Tensor] = []
    _collect(value, found)
    return found


def _collect(value: Any, found: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        found.append(value)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _collect(item, found)
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, found)


def map_tensors(change: Callable[[Tensor], Any], value: Any) -> Any:
    """`value` with each tensor replaced by `change(tensor)`; containers are copied."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple([map_tensors(change, item) for item in value])
    if isinstance(value, list):
        return [map_tensors(change, item) for item in value]
    if isinstance(value, dict):
        return {key: map_tensors(change, item) for key, item in value.items()}
    return value
