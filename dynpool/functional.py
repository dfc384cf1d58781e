"""The operator as a function: validation, registration with PyTorch, gradients, vmap.

``dynpool::dynopool2d`` and ``dynpool::dynopool2d_backward`` are torch.library custom operators. Their body is
:mod:`dynpool.kernels.reference`; a faster one for a device is added with ``register_kernel`` and no caller changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .kernels import reference
from .sizes import output_size

__all__ = ["Reduce", "check_alpha", "check_reduce", "dynopool2d", "sizes_from_alpha"]

Reduce = Literal["max", "mean", "sample"]
Alpha = Tensor | float | Sequence[float]

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ALPHA_ALLOWED = "expected one or two (height, width) finite positive numbers"


def dynopool2d(x: Tensor, alpha: Alpha, *, reduce: Reduce = "max", size: tuple[int, int] | None = None) -> Tensor:
    """The feature map x resized by the learned stride alpha: DynOPool (Jang et al., CVPR 2022, Eq. 1 to 6).

    Each output pixel is the maximum ("max", the paper's) or the mean ("mean") of four bilinear queries around its
    centre; "sample" takes the one pixel at the start of its cell, which is what a strided layer keeps. ``alpha = 2`` on
    even sizes is max pooling, average pooling and striding by 2, in this order.

    The gradient to alpha flows through the distance of the queries from the cell's centre alone, with the output size
    rounded straight through (Eq. 3, 4); where a query lies exactly on a pixel it is the mean of the two one-sided
    derivatives. "sample" has no such distance and gives alpha the gradient that "mean" has.

    Args:
        x: (N, C, H, W) or (C, H, W), float16, bfloat16, float32 or float64; N and C may be 0, H and W not. Keeps its
            memory format (contiguous or channels_last).
        alpha: learned stride in input pixels per output pixel, finite and positive: a tensor of two (rows, columns) or
            one number on the device of x, a float, or a pair of floats.
        reduce: "max", "mean" or "sample".
        size: (H_out, W_out). Default: ``round(max(H / alpha, 1.5))`` per axis, half to even, for which alpha is read on
            the host; with a given size it is not (and its values are not checked). An axis of one pixel becomes two
            for every alpha from 2/5 upwards.

    Returns:
        (N, C, H_out, W_out) or (C, H_out, W_out), dtype of x.

    Raises:
        TypeError: if x is not a floating-point tensor, or alpha or size are of a wrong type.
        ValueError: if a shape, a value, a name or a device is out of range.

    >>> dynopool2d(torch.arange(16.0).view(1, 1, 4, 4), 2.0)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    _check_input(x)
    check_reduce(reduce)
    pair = check_alpha(alpha, x)
    height, width = sizes_from_alpha(pair, x) if size is None else _check_output_size(size, x)
    batched = x if x.dim() == 4 else x.unsqueeze(0)
    y, _ = _dynopool2d(batched, pair, height, width, reduce)
    return y if x.dim() == 4 else y.squeeze(0)


# -------------------------------------------------------------------------------------------------------- validation


def check_reduce(reduce: str) -> None:
    """Raise ValueError unless ``reduce`` names a reduction."""
    if reduce not in get_args(Reduce):
        raise ValueError(f"reduce={reduce!r}: expected one of {', '.join(map(repr, get_args(Reduce)))}")


def _check_input(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}: expected a tensor (N, C, H, W) or (C, H, W)")
    if x.dtype not in _DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise TypeError(f"x of shape {tuple(x.shape)} has dtype {x.dtype}: expected one of {names}")
    if x.dim() not in (3, 4):
        raise ValueError(f"x has shape {tuple(x.shape)}: expected (N, C, H, W) or (C, H, W)")
    if x.shape[-2] < 1 or x.shape[-1] < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}: expected at least 1 pixel along height and width")


def check_alpha(alpha: Alpha, x: Tensor) -> Tensor:
    """Alpha as a tensor (rows, columns) on the device of x. Values are checked only where they are on the host already.

    Raises:
        TypeError: if alpha is neither a floating-point tensor nor one or two numbers.
        ValueError: if its length, its device or (given as numbers) its values are out of range.
    """
    if isinstance(alpha, Tensor):
        if not alpha.dtype.is_floating_point:
            raise TypeError(f"alpha has dtype {alpha.dtype} {_for(x)}: expected a floating-point tensor")
        if alpha.dim() > 1 or (alpha.dim() == 1 and alpha.shape[0] != 2):
            raise ValueError(f"alpha has shape {tuple(alpha.shape)} {_for(x)}: expected (2,) or ()")
        if alpha.device != x.device:
            raise ValueError(f"alpha is on {alpha.device} {_for(x)} on {x.device}: expected the same device")
        return alpha if alpha.dim() == 1 else alpha.expand(2)
    values = [alpha, alpha] if isinstance(alpha, (int, float)) else alpha
    if not _all_numbers(values, (int, float)):
        raise TypeError(f"alpha={alpha!r} {_for(x)}: {_ALPHA_ALLOWED}")
    if len(values) != 2 or not all(0 < value < math.inf for value in values):
        raise ValueError(f"alpha={alpha!r} {_for(x)}: {_ALPHA_ALLOWED}")
    return torch.tensor([float(value) for value in values], dtype=torch.float32, device=x.device)


def _check_output_size(size: tuple[int, int], x: Tensor) -> tuple[int, int]:
    allowed = "expected (H_out, W_out), two integers of at least 1"
    if not _all_numbers(size, (int, torch.SymInt)):
        raise TypeError(f"size={size!r} {_for(x)}: {allowed}")
    if len(size) != 2 or size[0] < 1 or size[1] < 1:
        raise ValueError(f"size={size!r} {_for(x)}: {allowed}")
    return size[0], size[1]


def _all_numbers(values: object, types: tuple[type, ...]) -> bool:
    if not isinstance(values, (tuple, list)):
        return False
    return all(isinstance(value, types) and not isinstance(value, bool) for value in values)


def _for(x: Tensor) -> str:
    return f"for x of shape {tuple(x.shape)}"


# -------------------------------------------------------------------------------------------------- sizes from alpha


def sizes_from_alpha(alpha: Tensor, x: Tensor, limits: tuple[float, float] = (0.0, math.inf)) -> tuple[int, int]:
    """(H_out, W_out) that alpha gives for x; reads alpha on the host. Traceable by torch.compile and torch.export.

    Args:
        alpha: (2,), rows and columns.
        x: (..., H, W).
        limits: smallest and largest alpha; values outside count as the limit itself.

    Raises:
        ValueError: if alpha is not finite and positive after that.
    """
    height, width = x.shape[-2:]
    if not torch.compiler.is_compiling():
        return _sizes_on_host(alpha.detach().tolist(), height, width, limits)
    out_h, out_w = _output_sizes(alpha.detach(), height, width, *limits).tolist()
    torch._check(out_h >= 2)
    torch._check(out_w >= 2)
    return out_h, out_w


def _sizes_on_host(values: Sequence[float], height: int, width: int, limits: tuple[float, float]) -> tuple[int, int]:
    low, high = limits
    alpha_h, alpha_w = (min(max(value, low), high) for value in values)
    if not (0 < alpha_h < math.inf and 0 < alpha_w < math.inf):
        raise ValueError(f"alpha={list(values)} for x of height and width ({height}, {width}): {_ALPHA_ALLOWED}")
    return output_size(height, alpha_h), output_size(width, alpha_w)


@torch.library.custom_op("dynpool::output_sizes", mutates_args=())
def _output_sizes(alpha: Tensor, height: int, width: int, low: float, high: float) -> Tensor:
    """The output sizes as a CPU tensor of two int64, so that a compiled graph serves every size."""
    return torch.tensor(_sizes_on_host(alpha.tolist(), height, width, (low, high)), dtype=torch.int64, device="cpu")


@_output_sizes.register_fake
def _(alpha: Tensor, height: int, width: int, low: float, high: float) -> Tensor:
    return torch.empty(2, dtype=torch.int64, device="cpu")


# ------------------------------------------------------------------------------------------------------ registration


@torch.library.custom_op("dynpool::dynopool2d", mutates_args=())
def _dynopool2d(x: Tensor, alpha: Tensor, out_h: int, out_w: int, reduce: str) -> tuple[Tensor, Tensor]:
    """The pooled map and, for "max", the winning queries (uint8). Alpha is here for its gradient alone."""
    y, winner = reference.forward(x, (out_h, out_w), reduce)
    return _fresh(y, x), _laid_out(winner, x) if reduce == "max" else winner


@_dynopool2d.register_fake
def _(x: Tensor, alpha: Tensor, out_h: int, out_w: int, reduce: str) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], x.shape[1], out_h, out_w)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_memory_format(x))
    return y, torch.empty_like(y, dtype=torch.uint8) if reduce == "max" else x.new_empty(0, dtype=torch.uint8)


@torch.library.custom_op("dynpool::dynopool2d_backward", mutates_args=())
def _dynopool2d_backward(
    dy: Tensor, x: Tensor | None, winner: Tensor, in_h: int, in_w: int, reduce: str, need_x: bool, channels_last: bool
) -> tuple[Tensor, Tensor]:
    """The gradient to x (empty unless wanted) and the gradient to -1 / alpha per sample, (N, 2) (empty without x)."""
    dx, spread = reference.backward(dy, x, winner, (in_h, in_w), reduce, need_x)
    if spread is None:
        slopes = dy.new_empty((0, 2), dtype=_accumulator(dy.dtype))
    else:
        ratio = [in_h / dy.shape[2], in_w / dy.shape[3]]
        slopes = spread * torch.tensor([r * r / 4 for r in ratio], dtype=spread.dtype, device=spread.device)
    if dx is None:
        return dy.new_empty(0), slopes
    format_ = torch.channels_last if channels_last else torch.contiguous_format
    dx = dx.contiguous(memory_format=format_)
    return dx.clone() if _shares(dx, dy) else dx, slopes


@_dynopool2d_backward.register_fake
def _(
    dy: Tensor, x: Tensor | None, winner: Tensor, in_h: int, in_w: int, reduce: str, need_x: bool, channels_last: bool
) -> tuple[Tensor, Tensor]:
    format_ = torch.channels_last if channels_last else torch.contiguous_format
    shape = (dy.shape[0], dy.shape[1], in_h, in_w)
    dx = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=format_) if need_x else dy.new_empty(0)
    return dx, dy.new_empty((0 if x is None else dy.shape[0], 2), dtype=_accumulator(dy.dtype))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, alpha, _, _, reduce = inputs
    needs_alpha = ctx.needs_input_grad[1]
    ctx.save_for_backward(x if needs_alpha else None, alpha if needs_alpha else None, output[1])
    ctx.reduce = reduce
    ctx.size = (x.shape[2], x.shape[3])
    ctx.channels_last = _memory_format(x) == torch.channels_last


def _backward(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, Tensor | None, None, None, None]:
    x, alpha, winner = ctx.saved_tensors
    need_x, need_alpha = ctx.needs_input_grad[:2]
    dx, slopes = _dynopool2d_backward(dy, x, winner, *ctx.size, ctx.reduce, need_x, ctx.channels_last)
    dalpha = (slopes.sum(0) / alpha.to(slopes.dtype).square()).to(alpha.dtype) if need_alpha else None
    return dx if need_x else None, dalpha, None, None, None


_dynopool2d.register_autograd(_backward, setup_context=_setup_context)


@_dynopool2d.register_vmap
def _(
    info: Any, in_dims: tuple[Any, ...], x: Tensor, alpha: Tensor, out_h: int, out_w: int, reduce: str
) -> tuple[tuple[Tensor, Tensor], tuple[int | None, int | None]]:
    """Values do not depend on alpha, so only a batch of x matters: it joins the samples."""
    if in_dims[1] is not None:
        alpha = alpha.new_ones(2)
    if in_dims[0] is None:
        return _dynopool2d(x, alpha, out_h, out_w, reduce), (None, None)
    y, winner = _dynopool2d(_fold(x, in_dims[0], info.batch_size), alpha, out_h, out_w, reduce)
    if reduce != "max":
        return (_unfold(y, info.batch_size), winner), (0, None)
    return (_unfold(y, info.batch_size), _unfold(winner, info.batch_size)), (0, 0)


@_dynopool2d_backward.register_vmap
def _(
    info: Any,
    in_dims: tuple[Any, ...],
    dy: Tensor,
    x: Tensor | None,
    winner: Tensor,
    in_h: int,
    in_w: int,
    reduce: str,
    need_x: bool,
    channels_last: bool,
) -> tuple[tuple[Tensor, Tensor], tuple[int | None, int | None]]:
    count = info.batch_size
    dy = _fold(dy, in_dims[0], count)
    x = None if x is None else _fold(x, in_dims[1], count)
    winner = _fold(winner, in_dims[2], count) if reduce == "max" else winner
    dx, slopes = _dynopool2d_backward(dy, x, winner, in_h, in_w, reduce, need_x, channels_last)
    outputs = _unfold(dx, count) if need_x else dx, slopes if x is None else _unfold(slopes, count)
    return outputs, (0 if need_x else None, None if x is None else 0)


def _fold(x: Tensor, dim: int | None, count: int) -> Tensor:
    """Merge a vmapped dimension, or ``count`` copies where there is none, into the samples."""
    return (x.expand(count, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)


def _unfold(x: Tensor, count: int) -> Tensor:
    return x.unflatten(0, (count, x.shape[0] // count if count else 0))


def _memory_format(x: Tensor) -> torch.memory_format:
    """channels_last for x laid out that way, also when it is a slice of such a tensor; else contiguous."""
    if not x.is_contiguous() and x.shape[1] > 1 and x.stride(1) == 1:
        return torch.channels_last
    return torch.contiguous_format


def _laid_out(y: Tensor, like: Tensor) -> Tensor:
    return y.contiguous(memory_format=_memory_format(like))


def _fresh(y: Tensor, x: Tensor) -> Tensor:
    """y in the layout of x, in memory of its own: an operator must not return its input."""
    y = _laid_out(y, x)
    return y.clone() if _shares(y, x) else y


def _shares(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() and a.numel() > 0


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
