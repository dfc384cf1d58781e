"""Resizers without an alpha: to the size of another resolution, or to a size fixed for good."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .functional import Reduce, dynopool2d
from .sizes import sample_grid

__all__ = ["FixedInterpolate2d", "FixedPool2d", "FollowInterpolate2d", "FollowPool2d"]

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
    """Interpolates to the size that another resolution has: instead of an upsampling by a factor, or behind one.

    Shape: (N, C, H, W) -> (N, C, *size), with `size` handed in by the model's tree.
    """

    def __init__(self, *, mode: str = "nearest", align_corners: bool | None = None) -> None:
        super().__init__()
        self.mode = mode
        self.align_corners = align_corners

    @classmethod
    def of(cls, layer: nn.Module) -> FollowInterpolate2d:
        """In the mode of an `nn.Upsample`, to stand in its place; bilinear behind any other layer, which stays."""
        if isinstance(layer, nn.Upsample):
            return cls(mode=layer.mode, align_corners=layer.align_corners)
        return cls(mode="bilinear", align_corners=False)

    def forward(self, x: Tensor, size: Pair) -> Tensor:
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)

    def frozen(self, size: Pair) -> nn.Module:  # type: ignore[override]
        """The same at a fixed size."""
        return FixedInterpolate2d(size, mode=self.mode, align_corners=self.align_corners)

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}"


class FixedInterpolate2d(nn.Upsample):
    """`nn.Upsample` to one size, or to another size given to the call."""

    def __init__(self, size: Pair, *, mode: str, align_corners: bool | None) -> None:
        super().__init__(size, mode=mode, align_corners=align_corners)

    def forward(self, input: Tensor, size: Pair | None = None) -> Tensor:
        return F.interpolate(input, size or self.size, mode=self.mode, align_corners=self.align_corners)


class FixedPool2d(nn.Module):
    """A resizer frozen at one output size: native operations only, the values of `DynOPool2d` at that size to rounding.

    Args:
        size: (height, width) of the output in pixels.
        reduce: "max", "mean" or "sample".

    Shape: (N, C, H, W) -> (N, C, *size), or to another size given to the call.
    """

    def __init__(self, size: Pair, *, reduce: Reduce = "max") -> None:
        super().__init__()
        self.size = size
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor, size: Pair | None = None) -> Tensor:
        h, w = size or self.size
        if self.reduce == "sample":
            return _sampled(_sampled(x, -2, h), -1, w)
        if (x.shape[-2], x.shape[-1]) != (2 * h, 2 * w):
            x = F.interpolate(x, (2 * h, 2 * w), mode="bilinear", align_corners=False)
        return F.max_pool2d(x, 2) if self.reduce == "max" else F.avg_pool2d(x, 2)

    def extra_repr(self) -> str:
        return f"size={self.size}, reduce={self.reduce!r}"


def _sampled(x: Tensor, dim: int, size: int) -> Tensor:
    """The value at each cell's first pixel along an axis, interpolated where that lies between two pixels."""
    length = x.shape[dim]
    if length % size == 0:
        step = length // size
        return x if step == 1 else x[..., ::step] if dim == -1 else x[..., ::step, :]
    floors, rests, denominator = sample_grid(length, size)
    low = x.index_select(dim, torch.tensor(floors, device=x.device))
    high = x.index_select(dim, torch.tensor([min(f + 1, length - 1) for f in floors], device=x.device))
    weight = torch.tensor([r / denominator for r in rests], dtype=x.dtype, device=x.device)
    return torch.lerp(low, high, weight if dim == -1 else weight.unsqueeze(-1))
