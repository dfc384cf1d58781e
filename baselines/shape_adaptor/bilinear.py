"""Bilinear resizing to a data-dependent size, as a custom operator under torch.compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dynpool.resizers import memory_format
from dynpool.size_math import Size

__all__ = ["bilinear_resize"]


def bilinear_resize(x: Tensor, size: Size, *, align_corners: bool, published: bool = False) -> Tensor:
    """x resized by bilinear interpolation, (N, C, H, W) to (N, C, *size); x itself if it has that size.

    With ``align_corners`` a single output pixel is the mean of the axis; with ``published`` too it is the first pixel,
    as F.interpolate has it.
    """
    mean = align_corners and not published
    if torch.compiler.is_compiling():  # F.interpolate branches on sizes, which would break the graph
        return _compiled(x, size[0], size[1], align_corners, mean)
    return _resized(x, size, align_corners, mean)


def _resized(x: Tensor, size: Size, align_corners: bool, mean: bool) -> Tensor:
    if x.shape[-2:] == size:
        return x
    single = [axis for axis, n in zip((-2, -1), size, strict=True) if mean and n == 1]
    x = x.mean(single, keepdim=True) if single else x
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


@torch.library.custom_op("dynpool::bilinear_resize", mutates_args=())
def _compiled(x: Tensor, height: int, width: int, align_corners: bool, mean: bool) -> Tensor:
    y = _resized(x, (height, width), align_corners, mean).contiguous(memory_format=memory_format(x))
    return y.clone() if y is x else y


@_compiled.register_fake
def _(x: Tensor, height: int, width: int, align_corners: bool, mean: bool) -> Tensor:
    shape = (x.shape[0], x.shape[1], height, width)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


@torch.library.custom_op("dynpool::bilinear_resize_backward", mutates_args=())
def _compiled_backward(dy: Tensor, height: int, width: int, align_corners: bool, mean: bool) -> Tensor:
    """The gradient to x: that of the interpolation, distributed over the axes that were averaged."""
    inner = [1 if mean and out == 1 else n for n, out in zip((height, width), dy.shape[-2:], strict=True)]
    shape = [dy.shape[0], dy.shape[1], *inner]
    dx = torch.ops.aten.upsample_bilinear2d_backward(dy, dy.shape[-2:], shape, align_corners)
    dx = dx.expand(*shape[:2], height, width) / (height // inner[0] * (width // inner[1]))
    return dx.contiguous(memory_format=memory_format(dy))


@_compiled_backward.register_fake
def _(dy: Tensor, height: int, width: int, align_corners: bool, mean: bool) -> Tensor:
    shape = (dy.shape[0], dy.shape[1], height, width)
    return torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=memory_format(dy))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, _, _, *ctx.options = inputs
    ctx.size = x.shape[-2], x.shape[-1]


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None, None]:
    return _compiled_backward(dy, *ctx.size, *ctx.options), None, None, None, None


_compiled.register_autograd(_backward, setup_context=_setup_context)
