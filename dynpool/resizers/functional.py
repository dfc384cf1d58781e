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
from dynpool.size_math import AXES, output_size

from .library import pool

__all__ = ["Reduce", "check_alpha", "check_reduce", "dynopool1d", "dynopool2d", "dynopool3d", "sizes_from_alpha"]

Reduce = Literal["max", "mean", "sample"]
Alpha = Tensor | float | Sequence[float]

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ALPHA_ALLOWED = {
    1: "expected one finite positive number",
    2: "expected one or two (height, width) finite positive numbers",
    3: "expected one or three (depth, height, width) finite positive numbers",
}
_LARGEST = 2**31 - 1  # pixels along an axis
_SIZE_ALLOWED = {
    1: f"expected L_out, an integer from 1 to {_LARGEST}",
    2: f"expected (H_out, W_out), two integers from 1 to {_LARGEST}",
    3: f"expected (D_out, H_out, W_out), three integers from 1 to {_LARGEST}",
}
_LAYOUTS = {
    1: "(N, C, L) or (C, L)",
    2: "(N, C, H, W) or (C, H, W)",
    3: "(N, C, D, H, W) or (C, D, H, W)",
}


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
    return _resized(x, alpha, reduce, size, axes=2)


def dynopool1d(x: Tensor, alpha: Alpha, *, reduce: Reduce = "max", size: int | Sequence[int] | None = None) -> Tensor:
    """The sequence x resized by the learned stride alpha: :func:`dynopool2d` along one axis, with two queries a cell.

    It runs as :func:`dynopool2d` on a map of height 1, along which all queries lie on its only pixel.

    Args:
        x: (N, C, L) or (C, L), float16, bfloat16, float32 or float64; N and C may be 0, L not.
        alpha: learned stride in input positions per output position, finite and positive: a tensor of one value on the
            device of x, or a number.
        reduce: "max", "mean" or "sample".
        size: L_out. Default: ``round(max(L / alpha, 1.5))``, half to even, as in :func:`dynopool2d`.

    Returns:
        (N, C, L_out) or (C, L_out), dtype of x.

    Raises:
        TypeError: if x is not a floating-point tensor, or alpha or size have a wrong type.
        ValueError: if a shape, a value, a name or a device is out of range.

    >>> dynopool1d(torch.arange(6.0).view(1, 1, 6), 2.0)
    tensor([[[1., 3., 5.]]])
    """
    return _resized(x, alpha, reduce, (size,) if is_whole(size) else size, axes=1)  # type: ignore[arg-type]


def dynopool3d(x: Tensor, alpha: Alpha, *, reduce: Reduce = "max", size: Sequence[int] | None = None) -> Tensor:
    """The volume x resized by the learned stride alpha: :func:`dynopool2d` along three axes, with eight queries a cell.

    There is no kernel for it on GPUs, where it runs as a composition of PyTorch's operators; so do large volumes, and
    float64, on a CPU.

    Args:
        x: (N, C, D, H, W) or (C, D, H, W), float16, bfloat16, float32 or float64; N and C may be 0, D, H and W not.
            Keeps its memory format (contiguous or channels_last_3d).
        alpha: learned stride in input voxels per output voxel, finite and positive: a tensor of three values (depth,
            height, width) or one on the device of x, a number, or three numbers.
        reduce: "max", "mean" or "sample".
        size: (D_out, H_out, W_out). Default: ``round(max(D / alpha, 1.5))`` per axis, as in :func:`dynopool2d`.

    Returns:
        (N, C, D_out, H_out, W_out) or (C, D_out, H_out, W_out), dtype of x.

    Raises:
        TypeError: if x is not a floating-point tensor, or alpha or size have a wrong type.
        ValueError: if a shape, a value, a name or a device is out of range.

    >>> dynopool3d(torch.arange(32.0).view(1, 1, 2, 4, 4), (1.0, 2.0, 4.0)).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return _resized(x, alpha, reduce, size, axes=3)


def _resized(x: Tensor, alpha: Alpha, reduce: Reduce, size: Sequence[int] | None, *, axes: int) -> Tensor:
    _check_input(x, axes)
    check_reduce(reduce)
    strides = check_alpha(alpha, x, axes)
    wanted = sizes_from_alpha(strides, x) if size is None else _check_output_size(size, x, axes)
    batched = x if x.dim() == axes + 2 else x.unsqueeze(0)
    if axes == 1:
        y = pool(batched.unsqueeze(2), torch.cat([strides.new_ones(1), strides]), (1, *wanted), reduce).squeeze(2)
    else:
        y = pool(batched, strides, wanted, reduce)
    return y if x.dim() == axes + 2 else y.squeeze(0)


# -------------------------------------------------------------------------------------------------------- validation


def check_reduce(reduce: str) -> None:
    """Raise ValueError unless ``reduce`` names a reduction."""
    if reduce not in get_args(Reduce):
        raise ValueError(f"reduce={reduce!r}: expected one of {', '.join(map(repr, get_args(Reduce)))}")


def _check_input(x: Tensor, axes: int) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}: expected a tensor {_LAYOUTS[axes]}")
    if x.dtype not in _DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise TypeError(f"x of shape {tuple(x.shape)} has dtype {x.dtype}: expected one of {names}")
    if x.dim() not in (axes + 1, axes + 2):
        raise ValueError(f"x has shape {tuple(x.shape)}: expected {_LAYOUTS[axes]}")
    if any(n < 1 for n in x.shape[-axes:]):
        raise ValueError(f"x has shape {tuple(x.shape)}: expected at least 1 pixel along {_names(axes)}")


def check_alpha(alpha: Alpha, x: Tensor, axes: int = 2) -> Tensor:
    """Alpha as a tensor with a value for each axis, on the device of x if given as a tensor, on the host if as numbers.

    Values of a tensor are not checked, as reading them would synchronise.

    Raises:
        TypeError: if alpha is neither a floating-point tensor nor as many numbers as axes, or one.
        ValueError: if its length, its device or (given as numbers) its values are out of range.
    """
    if isinstance(alpha, Tensor):
        if not alpha.dtype.is_floating_point:
            raise TypeError(f"alpha has dtype {alpha.dtype} {_for(x)}: expected a floating-point tensor")
        if alpha.dim() > 1 or (alpha.dim() == 1 and alpha.shape[0] != axes):
            raise ValueError(f"alpha has shape {tuple(alpha.shape)} {_for(x)}: expected ({axes},) or ()")
        if alpha.device != x.device:
            raise ValueError(f"alpha is on {alpha.device} {_for(x)} on {x.device}: expected the same device")
        return alpha if alpha.dim() == 1 else alpha.expand(axes)
    values = [alpha] * axes if isinstance(alpha, (int, float, Real)) else alpha
    if not isinstance(values, (tuple, list)) or not all(map(is_number, values)):
        raise TypeError(f"alpha={alpha!r} {_for(x)}: {_ALPHA_ALLOWED[axes]}")
    if len(values) != axes or not all(0 < value < math.inf for value in values):
        raise ValueError(f"alpha={alpha!r} {_for(x)}: {_ALPHA_ALLOWED[axes]}")
    return torch.tensor([float(value) for value in values], dtype=torch.float32, device="cpu")


def _check_output_size(size: Sequence[int], x: Tensor, axes: int) -> tuple[int, ...]:
    if not isinstance(size, (tuple, list)) or not all(map(is_whole, size)):
        raise TypeError(f"size={size!r} {_for(x)}: {_SIZE_ALLOWED[axes]}")
    plain = not torch.compiler.is_compiling() and all(isinstance(n, int) for n in size)
    if len(size) != axes or any(n < 1 for n in size) or (plain and max(size) > _LARGEST):
        raise ValueError(f"size={size!r} {_for(x)}: {_SIZE_ALLOWED[axes]}")
    return tuple(n if isinstance(n, (int, torch.SymInt)) else int(n) for n in size)  # type: ignore[misc] # as int


def _for(x: Tensor) -> str:
    return f"for x of shape {tuple(x.shape)}"


def _names(axes: int) -> str:
    *first, last = AXES[axes]
    return f"{', '.join(first)} and {last}" if first else last


# -------------------------------------------------------------------------------------------------- sizes from alpha


def sizes_from_alpha(alpha: Tensor, x: Tensor, limits: tuple[float, float] = (0.0, math.inf)) -> tuple[int, ...]:
    """The output size that alpha gives for x; reads alpha on the host. Traceable by torch.compile and torch.export.

    Args:
        alpha: a value for each of the last axes of x, one to three.
        x: (..., L), (..., H, W) or (..., D, H, W).
        limits: smallest and largest alpha, to which values are clipped.

    Raises:
        ValueError: if alpha is not finite and positive after clipping.
    """
    sizes = x.shape[-alpha.shape[0] :]
    if not torch.compiler.is_compiling():
        return _sizes_on_host(alpha.detach().tolist(), sizes, limits)
    read = _output_sizes if len(sizes) == 2 else _output_sizes_of_axes
    found = read(alpha.detach(), *(sizes if len(sizes) == 2 else (sizes,)), *limits).tolist()
    for size in found:
        torch._check(size >= 2)
    return tuple(found)


def _sizes_on_host(values: Sequence[float], sizes: Sequence[int], limits: tuple[float, float]) -> tuple[int, ...]:
    low, high = limits
    alphas = [min(max(value, low), high) for value in values]
    message = f"alpha={list(values)} for x of {_names(len(sizes))} {tuple(sizes)}"
    if not all(0 < alpha < math.inf for alpha in alphas):
        raise ValueError(f"{message}: {_ALPHA_ALLOWED[len(sizes)]}")
    if max(size / alpha for size, alpha in zip(sizes, alphas, strict=True)) > _LARGEST:
        raise ValueError(f"{message}: the output would have more than {_LARGEST} pixels along an axis")
    return tuple(map(output_size, sizes, alphas))


@torch.library.custom_op("dynpool::output_sizes", mutates_args=())
def _output_sizes(alpha: Tensor, height: int, width: int, low: float, high: float) -> Tensor:
    """The output sizes as a CPU tensor of two int64, so that one compiled graph serves all sizes."""
    return _as_tensor(alpha, (height, width), low, high)


@torch.library.custom_op("dynpool::output_sizes_of_axes", mutates_args=())
def _output_sizes_of_axes(alpha: Tensor, sizes: Sequence[int], low: float, high: float) -> Tensor:
    """The same for one or three axes."""
    return _as_tensor(alpha, sizes, low, high)


def _as_tensor(alpha: Tensor, sizes: Sequence[int], low: float, high: float) -> Tensor:
    return torch.tensor(_sizes_on_host(alpha.tolist(), sizes, (low, high)), dtype=torch.int64, device="cpu")


@_output_sizes.register_fake
@_output_sizes_of_axes.register_fake
def _(alpha: Tensor, *rest: object) -> Tensor:
    return torch.empty(alpha.shape[0], dtype=torch.int64, device="cpu")
