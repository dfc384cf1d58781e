"""The operator as a function: validation, and sizes from alpha. The implementations are registered in :mod:`.library`.

Importing this module registers all operators that an exported program with learned sizes uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal, get_args

import torch
from torch import Tensor

from dynpool.common.arguments import is_number, is_whole
from dynpool.size_math import output_size

from .library import pool

__all__ = ["Reduce", "check_alpha", "check_reduce", "dynopool2d", "sizes_from_alpha"]

Reduce = Literal["max", "mean", "sample"]
Alpha = Tensor | float | Sequence[float]

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ALPHA_ALLOWED = "expected one or two (height, width) finite positive numbers"
_LARGEST = 2**31 - 1  # pixels along an axis


def dynopool2d(x: Tensor, alpha: Alpha, *, reduce: Reduce = "max", size: tuple[int, int] | None = None) -> Tensor:
    """The feature map x resized by the learned stride alpha: DynOPool (Jang et al., CVPR 2022, Eq. 1 to 6).

    Each output pixel is the maximum ("max", as in the paper) or the mean ("mean") of four bilinear queries around its
    centre; "sample" takes the single pixel at the start of its cell, as a strided layer does. On even sizes
    ``alpha = 2`` is max pooling, average pooling and striding by 2, respectively.

    The gradient to alpha flows only through the distance of the queries from the cell's centre, with a straight-through
    gradient for the rounding of the output size (Eq. 3, 4). If a query lies exactly on a pixel, it is the mean of the
    two one-sided derivatives. "sample" has no such distance and uses the gradient of "mean".

    Args:
        x: (N, C, H, W) or (C, H, W), float16, bfloat16, float32 or float64; N and C may be 0, H and W not. Keeps its
            memory format (contiguous or channels_last).
        alpha: learned stride in input pixels per output pixel, finite and positive: a tensor of two values (rows,
            columns) or one on the device of x, a float, or a pair of floats.
        reduce: "max", "mean" or "sample".
        size: (H_out, W_out). Default: ``round(max(H / alpha, 1.5))`` per axis, half to even, for which a tensor alpha
            is read on the host; with a given size it is not read, nor are its values checked. An axis of one pixel
            becomes two for every alpha from 2/5 upwards. Under torch.compile the default uses one graph for all sizes;
            so do given sizes with ``dynamic=True``.

    Returns:
        (N, C, H_out, W_out) or (C, H_out, W_out), dtype of x.

    Raises:
        TypeError: if x is not a floating-point tensor, or alpha or size have a wrong type.
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
    y = pool(batched, pair, height, width, reduce)
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
    """Alpha as a tensor (rows, columns), on the device of x if given as a tensor, on the host if given as numbers.

    Values of a tensor are not checked, as reading them would synchronise.

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
    values = [alpha, alpha] if isinstance(alpha, (int, float, Real)) else alpha
    if not isinstance(values, (tuple, list)) or not all(map(is_number, values)):
        raise TypeError(f"alpha={alpha!r} {_for(x)}: {_ALPHA_ALLOWED}")
    if len(values) != 2 or not all(0 < value < math.inf for value in values):
        raise ValueError(f"alpha={alpha!r} {_for(x)}: {_ALPHA_ALLOWED}")
    return torch.tensor([float(value) for value in values], dtype=torch.float32, device="cpu")


def _check_output_size(size: tuple[int, int], x: Tensor) -> tuple[int, int]:
    allowed = f"expected (H_out, W_out), two integers from 1 to {_LARGEST}"
    if not isinstance(size, (tuple, list)) or not all(map(is_whole, size)):
        raise TypeError(f"size={size!r} {_for(x)}: {allowed}")
    plain = not torch.compiler.is_compiling() and all(isinstance(n, int) for n in size)
    if len(size) != 2 or size[0] < 1 or size[1] < 1 or (plain and max(size) > _LARGEST):
        raise ValueError(f"size={size!r} {_for(x)}: {allowed}")
    height, width = (n if isinstance(n, (int, torch.SymInt)) else int(n) for n in size)
    return height, width


def _for(x: Tensor) -> str:
    return f"for x of shape {tuple(x.shape)}"


# -------------------------------------------------------------------------------------------------- sizes from alpha


def sizes_from_alpha(alpha: Tensor, x: Tensor, limits: tuple[float, float] = (0.0, math.inf)) -> tuple[int, int]:
    """(H_out, W_out) that alpha gives for x; reads alpha on the host. Traceable by torch.compile and torch.export.

    Args:
        alpha: (2,), rows and columns.
        x: (..., H, W).
        limits: smallest and largest alpha, to which values are clipped.

    Raises:
        ValueError: if alpha is not finite and positive after clipping.
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
    message = f"alpha={list(values)} for x of height and width ({height}, {width})"
    if not (0 < alpha_h < math.inf and 0 < alpha_w < math.inf):
        raise ValueError(f"{message}: {_ALPHA_ALLOWED}")
    if max(height / alpha_h, width / alpha_w) > _LARGEST:
        raise ValueError(f"{message}: the output would have more than {_LARGEST} pixels along an axis")
    return output_size(height, alpha_h), output_size(width, alpha_w)


@torch.library.custom_op("dynpool::output_sizes", mutates_args=())
def _output_sizes(alpha: Tensor, height: int, width: int, low: float, high: float) -> Tensor:
    """The output sizes as a CPU tensor of two int64, so that one compiled graph serves all sizes."""
    return torch.tensor(_sizes_on_host(alpha.tolist(), height, width, (low, high)), dtype=torch.int64, device="cpu")


@_output_sizes.register_fake
def _(alpha: Tensor, height: int, width: int, low: float, high: float) -> Tensor:
    return torch.empty(2, dtype=torch.int64, device="cpu")
