"""Run an ATen operation on the meta device, with shortcuts where PyTorch's own way goes through much Python.

Tracing runs thousands of operations; batch norm and activations alone are most of them, and their results have a shape
that needs no working out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from .stand_ins import STAND_INS, with_known_masks

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


def run_on_meta(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], own: set[int] | None = None) -> Any:
    """What `func` gives on the meta device: tensors without contents, of the shapes and strides it would give.

    What has real tensors alone runs for real, so that constants the pass makes (indices, masks) keep their values;
    `own` collects where those lie, and only they are written to; without it nothing runs for real.
    """
    if kwargs.get("device") is not None and torch.device(kwargs["device"]).type != "cpu":
        kwargs = {**kwargs, "device": torch.device("meta")}
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    if own is not None and not any(t.is_meta for t in tensors) and _may_write(func, tensors, own):
        out = func(*args, **kwargs)
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor) and not t.is_meta]
        held = {t.untyped_storage().data_ptr() for t in tensors}
        own.update({t.untyped_storage().data_ptr() for t in made} - held)
        return out
    args, kwargs = tree_map_only(Tensor, _to_meta, (args, kwargs))
    name = func._schema.name
    if name in STAND_INS:
        return STAND_INS[name](*args, **kwargs)
    if name in ("aten::index", "aten::_unsafe_index"):
        args = (args[0], with_known_masks(args[1]), *args[2:])
    if name in _NORMS:
        x = args[0]
        if x.is_contiguous():
            return (torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1]))
    elif name == "aten::native_layer_norm":
        x, normalized = args[0], args[1]
        if x.is_contiguous():
            statistics = x.new_empty((*x.shape[: x.dim() - len(normalized)], *(1 for _ in normalized)))
            return (torch.empty_like(x), statistics, statistics.clone())
    elif name in _LIKE_INPUT and not kwargs and _spread_over_first(args):
        return torch.empty_like(args[0])
    elif name.endswith("_") and name[:-1] in _LIKE_INPUT and not kwargs and _spread_over_first(args):
        return args[0]
    return func(*args, **kwargs)


def _may_write(func: Any, tensors: list[Tensor], own: set[int]) -> bool:
    """Whether all that the operation may write to was made by the pass."""
    return not func._schema.is_mutable or all(t.untyped_storage().data_ptr() in own for t in tensors)


def _to_meta(t: Tensor) -> Tensor:
    return t if t.is_meta else t.to("meta")


def _spread_over_first(args: tuple[Any, ...]) -> bool:
    """Whether the first argument is contiguous and floating, and other tensors have its dtype and spread over it."""
    if not (isinstance(args[0], Tensor) and args[0].is_floating_point() and args[0].is_contiguous()):
        return False
    first, *rest = (t for t in args if isinstance(t, Tensor))
    return all(t.dtype == first.dtype and _spreads(t, first) for t in rest)


def _spreads(t: Tensor, over: Tensor) -> bool:
    if t.shape == over.shape:
        return t.is_contiguous()
    sizes = zip(reversed(t.shape), reversed(over.shape), strict=False)
    return 0 < t.dim() <= over.dim() and all(n in (1, m) for n, m in sizes)
