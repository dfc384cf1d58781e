"""Run an ATen operation on the meta device, with shortcuts where PyTorch's own way goes through much Python.

Tracing runs thousands of operations; batch norm and activations alone are most of them, and their results have a shape
that needs no working out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

__all__ = ["run_on_meta"]

_NORMS = frozenset(
    f"aten::{name}"
    for name in "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training".split()
)
_LIKE_INPUT = frozenset(
    f"aten::{name}"
    for name in (
        "add sub mul div relu silu gelu sigmoid tanh hardtanh hardswish hardsigmoid leaky_relu elu clamp exp neg sqrt "
        "rsqrt"
    ).split()
)


def run_on_meta(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `func` gives on the meta device: tensors without contents, of the shapes and strides it would give."""
    args, kwargs = tree_map_only(Tensor, _to_meta, (args, kwargs))
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("meta")}
    name = func._schema.name
    if name in _NORMS:
        x = args[0]
        if x.is_contiguous():
            statistics = [x.new_empty(x.shape[1] if name != "aten::_native_batch_norm_legit_no_training" else 0)] * 2
            return (torch.empty_like(x), *(t.clone() for t in statistics))
    elif name in _LIKE_INPUT and not kwargs and _alike(args):
        return torch.empty_like(args[0])
    elif name.endswith("_") and name[:-1] in _LIKE_INPUT and not kwargs and _alike(args):
        return args[0]
    return func(*args, **kwargs)


def _to_meta(t: Tensor) -> Tensor:
    return t if t.is_meta else t.to("meta")


def _alike(args: tuple[Any, ...]) -> bool:
    """Whether all tensors among the arguments are contiguous, floating, and of one shape and dtype."""
    first, *rest = (t for t in args if isinstance(t, Tensor))
    if not (isinstance(args[0], Tensor) and first.is_floating_point() and first.is_contiguous()):
        return False
    return all(t.shape == first.shape and t.dtype == first.dtype and t.is_contiguous() for t in rest)
