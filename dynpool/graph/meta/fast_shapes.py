"""Fast output shapes of common operations on the meta device, where PyTorch's own implementations are slow Python.

Tracing runs thousands of operations, most of them these, and the shapes of their results are simple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

__all__ = ["FITS", "SHORTCUTS"]

Shortcut = Callable[..., Any]  # returns None if unknown: then PyTorch computes the shape


def _batch_norm(x: Tensor, *rest: Any) -> Any:
    if not x.is_contiguous():
        return None
    return torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _layer_norm(x: Tensor, normalized: list[int], *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    statistics = x.new_empty((*x.shape[: x.dim() - len(normalized)], *(1 for _ in normalized)))
    return x.new_empty(x.shape), statistics, statistics.clone()


def _product(bias: Tensor, a: Tensor, b: Tensor) -> Tensor | None:
    if not bias.dtype == a.dtype == b.dtype:
        return None
    return a.new_empty((a.shape[0], b.shape[1]))


def _softmax(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor | None:
    return None if half_to_float or not x.is_floating_point() else x.new_empty(x.shape)


def _interpolated(x: Tensor, size: list[int] | None, *rest: Any) -> Tensor | None:
    if size is None:
        return None
    return torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=suggest_memory_format(x))


def _grid_sample(x: Tensor, grid: Tensor, *rest: Any) -> Tensor | None:
    if x.dtype != grid.dtype:
        return None
    return x.new_empty((*x.shape[:2], *grid.shape[1:3]))


def _elementwise(x: Any, *rest: Any) -> Tensor | None:
    """Output like the first argument, if that is floating and all other tensors have its dtype and broadcast to it."""
    if not (isinstance(x, Tensor) and x.is_floating_point()):
        return None
    others = [t for t in rest if isinstance(t, Tensor)]
    if not (x.is_contiguous() or (not others and _dense(x))):
        return None
    return torch.empty_like(x) if all(t.dtype == x.dtype and _spreads(t, x) for t in others) else None


def _in_place(x: Tensor, *rest: Any) -> Tensor | None:
    """The first tensor itself, under the same conditions."""
    return None if _elementwise(x, *rest) is None else x


def _dense(x: Tensor) -> bool:
    """Whether its elements fill its memory without gaps, in any order of dimensions."""
    held = 1
    for stride, n in sorted((s, n) for s, n in zip(x.stride(), x.shape, strict=True) if n > 1):
        if stride != held:
            return False
        held *= n
    return True


def _spreads(t: Tensor, over: Tensor) -> bool:
    if t.shape == over.shape:
        return t.is_contiguous()
    sizes = zip(reversed(t.shape), reversed(over.shape), strict=False)
    return 0 < t.dim() <= over.dim() and all(n in (1, m) for n, m in sizes)


def _fits_batch_norm(x: Tensor, *rest: Any) -> bool:
    return x.dim() > 1 and all(t.shape == x.shape[1:2] for t in rest if isinstance(t, Tensor))


def _fits_layer_norm(x: Tensor, normalized: list[int], *rest: Any) -> bool:
    shape = torch.Size(normalized)
    return x.shape[x.dim() - len(shape) :] == shape and all(t.shape == shape for t in rest if isinstance(t, Tensor))


def _fits_product(bias: Tensor, a: Tensor, b: Tensor) -> bool:
    return a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0] and bias.shape == b.shape[1:]


def _fits_grid(x: Tensor, grid: Tensor, *rest: Any) -> bool:
    return x.dim() == grid.dim() == 4 and len(x) == len(grid) and grid.shape[3] == 2


_ELEMENTWISE = (
    "add sub mul div relu silu gelu sigmoid tanh hardtanh hardswish hardsigmoid leaky_relu elu clamp exp neg sqrt rsqrt"
).split()

# whether the operands go together; if not, PyTorch's own implementation says why
FITS: dict[str, Callable[..., bool]] = {
    "aten::native_batch_norm": _fits_batch_norm,
    "aten::_native_batch_norm_legit": _fits_batch_norm,
    "aten::_native_batch_norm_legit_no_training": _fits_batch_norm,
    "aten::native_layer_norm": _fits_layer_norm,
    "aten::addmm": _fits_product,
    "aten::grid_sampler_2d": _fits_grid,
}

SHORTCUTS: dict[str, Shortcut] = {
    "aten::native_batch_norm": _batch_norm,
    "aten::_native_batch_norm_legit": _batch_norm,
    "aten::_native_batch_norm_legit_no_training": _batch_norm,
    "aten::native_layer_norm": _layer_norm,
    "aten::addmm": _product,
    "aten::_softmax": _softmax,
    "aten::_safe_softmax": _softmax,
    "aten::upsample_bilinear2d": _interpolated,
    "aten::upsample_bicubic2d": _interpolated,
    "aten::grid_sampler_2d": _grid_sample,
    **{f"aten::{name}": _elementwise for name in _ELEMENTWISE},
    **{f"aten::{name}_": _in_place for name in _ELEMENTWISE},
}
