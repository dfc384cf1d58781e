"""The mixture of a Shape Adaptor as a function, and as a module with a fixed size and weight.

Reference: Liu et al., "Shape Adaptor: A Learnable Resizing Module", ECCV 2020, section 3. Written from its formulas.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.common.arguments import check_flags, check_numbers, check_size
from dynpool.resizers import Reduce, check_reduce
from dynpool.size_math import Size

from .bilinear import bilinear_resize

__all__ = [
    "Bookkeeping",
    "FixedShapeAdaptor2d",
    "check_bookkeeping",
    "check_form",
    "check_map",
    "pool",
    "shape_adaptor2d",
]

Bookkeeping = Literal["local", "global"]

_HALF = (torch.float16, torch.bfloat16)


def shape_adaptor2d(
    down: Tensor,
    keep: Tensor,
    weight: Tensor | float,
    size: Size,
    *,
    residual: bool = False,
    align_corners: bool = True,
    published: bool = False,
) -> Tensor:
    """Two feature maps resized to the same size and mixed: ``(1 - weight) * resize(down) + weight * resize(keep)``.

    Liu et al., ECCV 2020, section 3.1. Half-precision maps are mixed in float32.

    Args:
        down: (N, C, H1, W1), the branch of lower resolution; floating-point.
        keep: (N, C, H2, W2), the branch that keeps the resolution; dtype and device of ``down``.
        weight: weight of the second branch, from 0 to 1: a number, or a tensor of one value, which gets a gradient.
        size: (H_out, W_out) in pixels.
        residual: double the result, because the branches of a residual block are added, not averaged.
        align_corners: as in F.interpolate, but a single output pixel is the mean of the axis.
        published: as the authors' code: a single output pixel is the first one, and weights go down to -1.

    Returns:
        (N, C, H_out, W_out), dtype and memory format of the maps.

    Raises:
        TypeError: if a map is not a floating-point tensor, their dtypes differ, or an argument is of a wrong type.
        ValueError: if a shape, the size, the number of weights or a weight given as a number is out of range.

    >>> x = torch.arange(16.0).view(1, 1, 4, 4)
    >>> shape_adaptor2d(F.max_pool2d(x, 2), x, 0.25, (2, 2))
    tensor([[[[ 3.7500,  6.0000],
              [12.7500, 15.0000]]]])
    """
    check_map("down", down)
    check_map("keep", keep)
    if down.dtype != keep.dtype:
        raise TypeError(f"down has dtype {down.dtype} and keep {keep.dtype}: expected the same")
    if down.shape[:2] != keep.shape[:2]:
        raise ValueError(f"down has shape {tuple(down.shape)} and keep {tuple(keep.shape)}: expected the same (N, C)")
    size = check_size("size", size)
    check_flags(residual=residual, align_corners=align_corners, published=published)
    if not isinstance(weight, Tensor):
        _check_weight(weight, published, ", or a tensor of one")
    elif weight.numel() != 1:
        raise ValueError(f"weight has {weight.numel()} values: expected a number from 0 to 1, or a tensor of one")
    dtype = torch.float32 if down.dtype in _HALF else down.dtype
    low, high = (
        bilinear_resize(x, size, align_corners=align_corners, published=published).to(dtype) for x in (down, keep)
    )
    share = weight.to(dtype).reshape(()) if isinstance(weight, Tensor) else weight
    mixed = torch.lerp(low, high, share)
    return ((2 * mixed) if residual else mixed).to(down.dtype)


def check_map(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
        what = f"tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} is a {what}: expected a floating-point tensor (N, C, H, W)")
    if x.dim() != 4 or x.shape[-2] < 1 or x.shape[-1] < 1:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: expected (N, C, H, W), at least 1 pixel along H and W")


def check_form(residual: bool, down: Tensor | None) -> None:
    if (down is not None) != residual:
        given = "down is None" if down is None else "down was given"
        raise ValueError(f"down must be given with residual=True and only then; residual is {residual} and {given}")


def check_bookkeeping(bookkeeping: str) -> None:
    """Raise ValueError unless it is "local" or "global"."""
    if bookkeeping not in get_args(Bookkeeping):
        raise ValueError(f"bookkeeping={bookkeeping!r}: expected 'local' or 'global'")


def _check_weight(weight: float, published: bool, more: str = "") -> None:
    lowest = -1 if published else 0  # with a memory bound the published weight can fall to -r1 / (r2 - r1)
    check_numbers(f"a number from {lowest} to 1{more}", lambda n: lowest <= n <= 1, weight=weight)


def pool(x: Tensor, kernel: Size, reduce: Reduce, *, ceil_mode: bool = False) -> Tensor:
    """The branch of lower resolution: pooling with stride = kernel size; a kernel larger than the map is cut to it."""
    h, w = min(kernel[0], x.shape[-2]), min(kernel[1], x.shape[-1])
    if reduce == "sample":
        return x[..., ::h, ::w]
    reduction = F.max_pool2d if reduce == "max" else F.avg_pool2d
    y: Tensor = reduction(x, (h, w), ceil_mode=ceil_mode)
    return y


class FixedShapeAdaptor2d(nn.Module):
    """A Shape Adaptor with a fixed output size and weight: native PyTorch operations, no parameters.

    :func:`dynpool.freeze` replaces every :class:`ShapeAdaptor2d` by one. It also resizes to any fixed size on its own.

    Shape: (N, C, H, W) to (N, C, *size), dtype and memory format of the input. A kernel larger than the map is cut to
    it.

    Args:
        size: (height, width) of the output in pixels.
        weight: weight of the branch that keeps the resolution, from 0 to 1.
        kernel: (height, width) of the pooling branch in pixels; not used in the residual form.
        reduce: reduction of the pooling branch: "max", "mean" or "sample" (a strided slice).
        bookkeeping: "local" or "global", see :class:`ShapeAdaptor2d`; matters only with ``published``.
        residual: the residual form: the caller passes both branches, and their mixture is doubled.
        align_corners: as in :func:`shape_adaptor2d`.
        published: as the authors' code: see :func:`shape_adaptor2d`, and with "global" bookkeeping pools round up.

    Raises:
        TypeError: if an argument is of a wrong type.
        ValueError: if an argument is out of range.

    >>> FixedShapeAdaptor2d((5, 4), 0.25)(torch.zeros(1, 8, 9, 7)).shape
    torch.Size([1, 8, 5, 4])
    """

    def __init__(
        self,
        size: Size,
        weight: float,
        *,
        kernel: Size = (2, 2),
        reduce: Reduce = "max",
        bookkeeping: Bookkeeping = "local",
        residual: bool = False,
        align_corners: bool = True,
        published: bool = False,
    ) -> None:
        super().__init__()
        check_reduce(reduce)
        check_bookkeeping(bookkeeping)
        check_flags(residual=residual, align_corners=align_corners, published=published)
        _check_weight(weight, published)
        self.size: Size = check_size("size", size)
        self.kernel: Size = check_size("kernel", kernel)
        self.weight = weight
        self.reduce: Reduce = reduce
        self.bookkeeping: Bookkeeping = bookkeeping
        self.residual, self.align_corners, self.published = residual, align_corners, published

    def forward(self, x: Tensor, *, down: Tensor | None = None) -> Tensor:
        """The mixture at the fixed size.

        Args:
            x: (N, C, H, W); in the residual form the output of the block's weight branch.
            down: (N, C, H1, W1), only in the residual form: the output of its strided shortcut.

        Raises:
            TypeError: if x is not a floating-point tensor, or the dtypes differ.
            ValueError: if a shape is out of range, or ``down`` is missing or not expected.
        """
        check_map("x", x)
        check_form(self.residual, down)
        up = self.published and self.bookkeeping == "global"
        low = pool(x, self.kernel, self.reduce, ceil_mode=up) if down is None else down
        return shape_adaptor2d(
            low,
            x,
            self.weight,
            self.size,
            residual=self.residual,
            align_corners=self.align_corners,
            published=self.published,
        )

    def extra_repr(self) -> str:
        published = f", {self.bookkeeping}, published" if self.published else ""
        return f"size={self.size}, weight={self.weight:.4g}, kernel={self.kernel}, reduce={self.reduce!r}{published}"
