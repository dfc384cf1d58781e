"""A convolution whose output does not depend on the size of its kernel, as a custom operator under torch.compile.

The padding grows with the kernel, so that shapes of maps stay the same, and one compiled graph serves all kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dynpool.size_math import Size, pair

__all__ = ["compiled_extent", "grown_convolution", "padding_of"]


def grown_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, margin: Size, groups: int
) -> Tensor:
    """The convolution of x, (N, C_in, H, W), with a kernel of odd sides, (C_out, C_in / groups, height, width).

    It is padded by half of the kernel, rounded down, plus ``margin`` pixels (height, width), which may be negative.
    """
    if torch.compiler.is_compiling():
        return _grown(x, weight, bias, stride, margin, groups)
    return _convolved(x, weight, bias, stride, margin, groups)


def padding_of(extent: Size, margin: Size) -> Size:
    """Pixels (height, width) of padding on each side of the map; negative: pixels cut off."""
    return pair(m + k // 2 for m, k in zip(margin, extent, strict=True))


def compiled_extent(extent: Tensor) -> Size:
    """Two integers of a tensor as sizes of a compiled graph, which then serves all of them."""
    height, width = _on_host(extent).tolist()
    torch._check(height >= 1)
    torch._check(width >= 1)
    return height, width


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], margin: Sequence[int], groups: int
) -> Tensor:
    cut, padding = _cut_and_padding(weight, margin)
    return F.conv2d(_padded(x, cut), weight, bias, stride, padding, 1, groups)


def _cut_and_padding(weight: Tensor, margin: Sequence[int]) -> tuple[Size, Size]:
    """The pixels (height, width), at most 0, that a negative padding cuts off on each side, and the other padding."""
    padding = padding_of((weight.shape[2], weight.shape[3]), (margin[0], margin[1]))
    return pair(min(p, 0) for p in padding), pair(max(p, 0) for p in padding)


def _padded(x: Tensor, around: Size) -> Tensor:
    return x if around == (0, 0) else F.pad(x, (around[1], around[1], around[0], around[0]))


@torch.library.custom_op("dynpool::extent_on_host", mutates_args=())
def _on_host(extent: Tensor) -> Tensor:
    return extent.to("cpu", torch.int64, copy=True)


@_on_host.register_fake
def _(extent: Tensor) -> Tensor:
    return torch.empty(2, dtype=torch.int64, device="cpu")


@torch.library.custom_op("dynpool::grown_convolution", mutates_args=())
def _grown(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], margin: Sequence[int], groups: int
) -> Tensor:
    return _convolved(x, weight, bias, stride, margin, groups).contiguous()


@_grown.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], margin: Sequence[int], groups: int
) -> Tensor:
    # with an odd kernel k: (n + 2 * (margin + k // 2) - k) // stride + 1
    sides = [(n + 2 * m - 1) // s + 1 for n, m, s in zip(x.shape[2:], margin, stride, strict=True)]
    return x.new_empty((x.shape[0], weight.shape[0], *sides))


@torch.library.custom_op("dynpool::grown_convolution_backward", mutates_args=())
def _grown_backward(
    dy: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], margin: Sequence[int], groups: int
) -> tuple[Tensor, Tensor]:
    cut, padding = _cut_and_padding(weight, margin)
    fixed = ((1, 1), False, (0, 0), groups, (True, True, False))  # dilation, transposed and what that takes; gradients
    dx, dw, _ = torch.ops.aten.convolution_backward(dy, _padded(x, cut), weight, None, stride, padding, *fixed)
    return _padded(dx, pair(-c for c in cut)).contiguous(), dw.contiguous()


@_grown_backward.register_fake
def _(
    dy: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], margin: Sequence[int], groups: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.stride, ctx.margin, ctx.groups = inputs
    ctx.save_for_backward(x, weight)
    ctx.has_bias = bias is not None


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    dx, dw = _grown_backward(dy, x, weight, ctx.stride, ctx.margin, ctx.groups)
    return dx, dw, dy.sum((0, 2, 3)) if ctx.has_bias else None, None, None, None


_grown.register_autograd(_backward, setup_context=_setup_context)
