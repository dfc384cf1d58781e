"""Resizers without an alpha: to a fixed size, or by fixed strides, as native PyTorch operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.fx
from torch import Tensor, nn
from torch._jit_internal import is_scripting
from torch.jit._trace import is_tracing
from torch.nn import functional as F
from torch.utils._python_dispatch import _get_current_dispatch_mode

from dynpool.common.arguments import check_sizes, is_whole
from dynpool.size_math import PerAxis, axes_text, output_size

from .functional import Reduce, check_reduce, dynopool2d, dynopool3d
from .host_values import numbers

__all__ = [
    "FixedPool", "FixedPool1d", "FixedPool2d", "FixedPool3d", "FixedStrides1d", "FixedStrides2d", "FixedStrides3d",
    "fixed_pool_class", "is_recorded",
]  # fmt: skip

_INTEGERS = {1: "one integer", 2: "two integers", 3: "three integers"}


class FixedPool(nn.Module):
    """What `FixedPool1d`, `FixedPool2d` and `FixedPool3d` have in common."""

    axes: ClassVar[int]

    def __init__(self, size: int | Sequence[int], *, reduce: Reduce = "max") -> None:
        super().__init__()
        check_reduce(reduce)
        expected = f"{'' if self.axes == 1 else axes_text(self.axes) + ', '}{_INTEGERS[self.axes]}"
        given = (size,) if self.axes == 1 and is_whole(size) else size
        self.size: Any = check_sizes("size", given, expected, self.axes)
        self.reduce: str = reduce

    def extra_repr(self) -> str:
        return f"size={self.size}, reduce={self.reduce!r}"


class FixedPool1d(FixedPool):
    """`DynOPool1d` with a fixed output size, as native PyTorch operations; equal up to rounding.

    Args:
        size: L_out, or (L_out,).
        reduce: "max", "mean" or "sample".

    Shape: (N, C, L) or (C, L) -> the same with L_out, or with the size given to a call.

    Raises:
        TypeError: if `size` is not an integer.
        ValueError: if `size` or `reduce` is out of range.
    """

    axes = 1

    def forward(self, input: Tensor, size: tuple[int] | None = None) -> Tensor:
        length = self.size[0] if size is None else size[0]
        return fixed_pool(input.unsqueeze(-2), 1, length, self.reduce).squeeze(-2)


class FixedPool2d(FixedPool):
    """`DynOPool2d` with a fixed output size, as native PyTorch operations; equal up to rounding.

    As with `DynOPool2d`, an infinite or NaN pixel affects only cells whose queries give it a nonzero weight.

    Args:
        size: (height, width) of the output in pixels.
        reduce: "max", "mean" or "sample".

    Shape: (N, C, H, W) or (C, H, W) -> the same with `size`, or with the size given to a call.

    Raises:
        TypeError: if `size` is not a tuple or list of integers.
        ValueError: if `size` or `reduce` is out of range.
    """

    axes = 2

    def forward(self, input: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        h, w = self.size if size is None else size
        return fixed_pool(input, h, w, self.reduce)


class FixedPool3d(FixedPool):
    """`DynOPool3d` with a fixed output size, as native PyTorch operations; equal up to rounding.

    Args:
        size: (depth, height, width) of the output in voxels.
        reduce: "max", "mean" or "sample".

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same with `size`, or with the size given to a call.

    Raises:
        TypeError: if `size` is not a tuple or list of integers.
        ValueError: if `size` or `reduce` is out of range.
    """

    axes = 3

    def forward(self, input: Tensor, size: tuple[int, int, int] | None = None) -> Tensor:
        depth, height, width = self.size if size is None else size
        return fixed_pool_of_volumes(input, depth, height, width, self.reduce)


_POOLS: dict[int, type[FixedPool]] = {kind.axes: kind for kind in (FixedPool1d, FixedPool2d, FixedPool3d)}


def fixed_pool_class(axes: int) -> type[FixedPool]:
    """The module of the operator at a fixed size, for a number of axes."""
    return _POOLS[axes]


class FixedStrides(nn.Module):
    """What `FixedStrides1d`, `FixedStrides2d` and `FixedStrides3d` have in common."""

    axes: ClassVar[int]

    def __init__(self, strides: float | Sequence[float], *, reduce: Reduce = "max") -> None:
        super().__init__()
        check_reduce(reduce)
        message = f"strides={strides!r}: expected {_EXPECTED[self.axes]} above 0"
        self.strides: PerAxis = numbers(strides, self.axes, message)
        if min(self.strides) <= 0:
            raise ValueError(message)
        self.reduce: str = reduce

    def extra_repr(self) -> str:
        strides = ", ".join(f"{stride:.4g}" for stride in self.strides)
        return f"strides=({strides}), reduce={self.reduce!r}"


_EXPECTED = {
    1: "one finite number",
    2: "one or two (height, width) finite numbers",
    3: "one or three (depth, height, width) finite numbers",
}


class FixedStrides1d(FixedStrides):
    """`DynOPool1d` with a fixed alpha: :class:`FixedStrides2d` along one axis."""

    axes = 1

    def forward(self, input: Tensor) -> Tensor:
        return strided_pool_of_sequences(input, self.strides[0], self.reduce)


class FixedStrides2d(FixedStrides):
    """`DynOPool2d` with a fixed alpha, as native PyTorch operations: its size follows from that of its input.

    Args:
        strides: input pixels per output pixel, one number or (height, width).
        reduce: "max", "mean" or "sample".

    Shape: (N, C, H, W) or (C, H, W) -> the same with round(max(H / strides[0], 1.5)), and the width likewise.

    Raises:
        TypeError: if `strides` is not one or two numbers.
        ValueError: if a stride is not finite and positive, or `reduce` is none of these.
    """

    axes = 2

    def forward(self, input: Tensor) -> Tensor:
        return strided_pool(input, self.strides[0], self.strides[1], self.reduce)


class FixedStrides3d(FixedStrides):
    """`DynOPool3d` with a fixed alpha: :class:`FixedStrides2d` along three axes."""

    axes = 3

    def forward(self, input: Tensor) -> Tensor:
        return strided_pool_of_volumes(input, self.strides[0], self.strides[1], self.strides[2], self.reduce)


@torch.fx.wrap  # as strided_pool
def strided_pool_of_sequences(x: Tensor, stride: float, reduce: str) -> Tensor:
    """:func:`strided_pool` along one axis."""
    return fixed_pool(x.unsqueeze(-2), 1, output_size(int(x.shape[-1]), stride), reduce).squeeze(-2)


@torch.fx.wrap  # as strided_pool
def strided_pool_of_volumes(x: Tensor, stride_d: float, stride_h: float, stride_w: float, reduce: str) -> Tensor:
    """:func:`strided_pool` along three axes."""
    d, h, w = int(x.shape[-3]), int(x.shape[-2]), int(x.shape[-1])
    out = (output_size(d, stride_d), output_size(h, stride_h), output_size(w, stride_w))
    return fixed_pool_of_volumes(x, out[0], out[1], out[2], reduce)


@torch.fx.wrap  # a leaf of symbolic traces, in which the sizes of the input are not numbers
def strided_pool(x: Tensor, stride_h: float, stride_w: float, reduce: str) -> Tensor:
    """:func:`fixed_pool` to the size that the strides give."""
    h, w = int(x.shape[-2]), int(x.shape[-1])  # torch.jit.trace passes tensors
    return fixed_pool(x, output_size(h, stride_h), output_size(w, stride_w), reduce)


@torch.fx.wrap  # a leaf of symbolic traces, in which the sizes of the input are not numbers
def fixed_pool(x: Tensor, height: int, width: int, reduce: str) -> Tensor:
    """:func:`dynpool.dynopool2d` at a given size, by native operations; TorchScript compiles it as well.

    Without data nothing can be indexed by computed positions: there it is the operator itself, which a trace knows.
    """
    if not is_scripting():  # noqa: SIM102 - the compiler skips what is below this condition alone
        if x.is_meta:
            return _operator(x, height, width, reduce)
    maps = x if x.dim() == 4 else x.unsqueeze(0)
    if reduce == "sample":
        pooled = _sampled(_sampled(maps, -2, height), -1, width)
    else:
        if maps.shape[-2] != 2 * height or maps.shape[-1] != 2 * width:
            if _all_finite(maps):
                maps = F.interpolate(maps, (2 * height, 2 * width), mode="bilinear", align_corners=False)
            else:
                maps = _queried(_queried(maps, -2, 2 * height), -1, 2 * width)
        pooled = F.max_pool2d(maps, 2) if reduce == "max" else F.avg_pool2d(maps, 2)
    pooled = pooled.to(x.dtype)
    return pooled if x.dim() == 4 else pooled.squeeze(0)


@torch.fx.wrap  # as fixed_pool
def fixed_pool_of_volumes(x: Tensor, depth: int, height: int, width: int, reduce: str) -> Tensor:
    """:func:`dynpool.dynopool3d` at a given size, as :func:`fixed_pool` is :func:`dynpool.dynopool2d`."""
    if not is_scripting():  # noqa: SIM102 - the compiler skips what is below this condition alone
        if x.is_meta:
            return _operator_on_volumes(x, depth, height, width, reduce)
    maps = x if x.dim() == 5 else x.unsqueeze(0)
    if reduce == "sample":
        pooled = _sampled(_sampled(_sampled(maps, -3, depth), -2, height), -1, width)
    else:
        if _all_finite(maps):
            size = (2 * depth, 2 * height, 2 * width)
            maps = F.interpolate(maps, size, mode="trilinear", align_corners=False)
        else:
            maps = _queried(_queried(_queried(maps, -3, 2 * depth), -2, 2 * height), -1, 2 * width)
        if reduce == "max":
            pooled = F.max_pool3d(maps, 2)
        else:  # half precision has no avg_pool3d on a CPU
            pooled = F.avg_pool3d(maps if maps.dtype == torch.float64 else maps.to(torch.float32), 2)
    pooled = pooled.to(x.dtype)
    return pooled if x.dim() == 5 else pooled.squeeze(0)


def _operator_on_volumes(x: Tensor, depth: int, height: int, width: int, reduce: Any) -> Tensor:
    return dynopool3d(x, x.new_ones(3, dtype=torch.float32), reduce=reduce, size=(depth, height, width))


def _operator(x: Tensor, height: int, width: int, reduce: Any) -> Tensor:
    return dynopool2d(x, x.new_ones(2, dtype=torch.float32), reduce=reduce, size=(height, width))


def _all_finite(x: Tensor) -> bool:
    """Whether all pixels are known to be finite, so that pixels of weight zero do no harm.

    Checked only on a CPU, where it costs about 1 % of the interpolation, and only if the pass is not recorded.
    """
    if x.device.type != "cpu":
        return False
    if not is_scripting():  # noqa: SIM102 - the compiler skips what is below this condition alone
        if is_recorded(x):
            return False
    return bool(torch.isfinite(x.detach().sum(dtype=torch.float32)))


def is_recorded(x: Tensor) -> bool:
    """Whether operations on x are being recorded or transformed, so that they must not depend on its values."""
    return (
        torch.compiler.is_compiling()
        or type(x) not in (Tensor, nn.Parameter)
        or is_tracing()
        or torch._C._are_functorch_transforms_active()
        or _get_current_dispatch_mode() is not None
    )


def _queried(x: Tensor, dim: int, count: int) -> Tensor:
    """Linear interpolation at `count` equidistant positions along an axis, two for each cell."""
    if x.shape[dim] == count:
        return x
    odd = 2 * torch.arange(count, device=x.device) + 1
    return _interpolated(x, dim, odd * x.shape[dim] - count, 2 * count)


def _sampled(x: Tensor, dim: int, size: int) -> Tensor:
    """The value at the start of each cell along an axis, interpolated if that lies between two pixels."""
    length = x.shape[dim]
    if length % size == 0:
        step = length // size
        if step == 1:
            return x
        if dim == -1:
            return x[..., ::step]
        return x[..., ::step, :] if dim == -2 else x[..., ::step, :, :]
    return _interpolated(x, dim, torch.arange(size, device=x.device) * length, size)


def _interpolated(x: Tensor, dim: int, numerators: Tensor, denominator: int) -> Tensor:
    """Linear interpolation at the positions `numerators / denominator`, in pixels, clamped to the border.

    At a pixel's position it averages the pixel with itself, as an infinite neighbour with weight zero would give NaN.
    Half precision becomes float32.
    """
    last = x.shape[dim] - 1
    floors = torch.div(numerators, denominator, rounding_mode="floor")
    remainders = numerators - floors * denominator
    low, high = floors.clamp(0, last), (floors + (remainders > 0).to(floors.dtype)).clamp(0, last)
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight = torch.where(low == high, 0.5, remainders.to(exact) / denominator).to(exact)
    for _ in range(-1 - dim):
        weight = weight.unsqueeze(-1)
    return x.index_select(dim, low) * (1 - weight) + x.index_select(dim, high) * weight
