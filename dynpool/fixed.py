"""Resizers without an alpha: to the size of another resolution, or to a size fixed for good."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .functional import Reduce, dynopool2d
from .kernels import reference

__all__ = ["FixedPool2d", "FollowInterpolate2d", "FollowPool2d"]

Pair = tuple[int, int]


class FollowPool2d(nn.Module):
    """A resizer without an alpha of its own: it resizes to the size that another resolution has.

    Shape: (N, C, H, W) -> (N, C, *size), with `size` handed in by the model's tree.
    """

    def __init__(self, *, reduce: Reduce = "max") -> None:
        super().__init__()
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor, size: Pair) -> Tensor:
        return dynopool2d(x, x.new_ones(2, dtype=torch.float32), reduce=self.reduce, size=size)

    def frozen(self, size: Pair) -> FixedPool2d:
        """The same at a fixed size, by native operations."""
        return FixedPool2d(size, reduce=self.reduce)

    def extra_repr(self) -> str:
        return f"reduce={self.reduce!r}"


class FollowInterpolate2d(FollowPool2d):
    """An upsampling layer that interpolates to the size that another resolution has, instead of by a factor.

    Shape: (N, C, H, W) -> (N, C, *size), with `size` handed in by the model's tree.
    """

    def __init__(self, *, mode: str = "nearest", align_corners: bool | None = None) -> None:
        super().__init__()
        self.mode = mode
        self.align_corners = align_corners

    @classmethod
    def of(cls, layer: nn.Module) -> FollowInterpolate2d:
        """In the mode of an `nn.Upsample`."""
        if not isinstance(layer, nn.Upsample):
            raise TypeError(f"expected an nn.Upsample, got a {type(layer).__name__}")
        return cls(mode=layer.mode, align_corners=layer.align_corners)

    def forward(self, x: Tensor, size: Pair) -> Tensor:
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)

    def frozen(self, size: Pair) -> nn.Module:  # type: ignore[override]
        """The same at a fixed size."""
        return nn.Upsample(size=size, mode=self.mode, align_corners=self.align_corners)

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}"


class FixedPool2d(nn.Module):
    """A resizer frozen at one output size: native operations only, the values of `DynOPool2d` at that size to rounding.

    Args:
        size: (height, width) of the output in pixels.
        reduce: "max", "mean" or "sample".

    Shape: (N, C, H, W) -> (N, C, *size).
    """

    def __init__(self, size: Pair, *, reduce: Reduce = "max") -> None:
        super().__init__()
        self.size = size
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor) -> Tensor:
        (h, w), here = self.size, (x.shape[-2], x.shape[-1])
        if self.reduce == "sample":
            if here[0] % h == 0 and here[1] % w == 0:
                return x[..., :: here[0] // h, :: here[1] // w]
            return reference.forward(x, self.size, "sample")[0]
        if here != (2 * h, 2 * w):
            x = F.interpolate(x, (2 * h, 2 * w), mode="bilinear", align_corners=False)
        return F.max_pool2d(x, 2) if self.reduce == "max" else F.avg_pool2d(x, 2)

    def extra_repr(self) -> str:
        return f"size={self.size}, reduce={self.reduce!r}"
