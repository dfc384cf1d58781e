"""Resizers without an alpha: to the size of another resolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.size_math import PerAxis, Size

from .fixed import fixed_pool_class
from .functional import Reduce, dynopool1d, dynopool2d, dynopool3d

__all__ = ["FixedInterpolate", "FollowInterpolate", "FollowPool"]

_OPERATORS = {1: dynopool1d, 2: dynopool2d, 3: dynopool3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # the mode of linear interpolation, by the number of axes


class FollowPool(nn.Module):
    """A resizer without an alpha, which resizes to the size of another resolution.

    Shape: (N, C, H, W), or with another number of axes -> (N, C, *size), with `size` passed by the model's tree.
    """

    def __init__(self, *, reduce: Reduce = "max") -> None:
        super().__init__()
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor, size: Size) -> Tensor:
        operator: Any = _OPERATORS[len(size)]
        resized: Tensor = operator(x, x.new_ones(len(size), dtype=torch.float32), reduce=self.reduce, size=size)
        return resized

    def frozen(self, size: Size) -> nn.Module:
        """This resizer with a fixed size, as native PyTorch operations."""
        return fixed_pool_class(len(size))(size, reduce=self.reduce)

    def extra_repr(self) -> str:
        return f"reduce={self.reduce!r}"


class FollowInterpolate(FollowPool):
    """Interpolation to the size of another resolution, in place of an upsampling by a factor or behind one.

    Args:
        mode, align_corners: of `torch.nn.functional.interpolate`.
        factor: the factor per axis of the upsampling replaced, unless it is whole. Where it gives the size that is
            asked for, it is what positions step by, as in the model that was converted; else the sizes' ratio is.

    Shape: (N, C, H, W), or with another number of axes -> (N, C, *size), with `size` passed by the model's tree.
    """

    def __init__(
        self, *, mode: str = "nearest", align_corners: bool | None = None, factor: PerAxis | None = None
    ) -> None:
        super().__init__()
        self.mode = mode
        self.align_corners = align_corners
        self.factor = factor

    @classmethod
    def of(cls, layer: nn.Module, axes: int) -> FollowInterpolate:
        """A replacement for an `nn.Upsample`, with its mode; for any other layer, linear interpolation behind it."""
        if isinstance(layer, nn.Upsample):
            given = None if layer.recompute_scale_factor else layer.scale_factor
            factor = given if given is None else tuple(given) if isinstance(given, tuple) else (given,) * axes
            if factor is not None and all(f.is_integer() for f in factor):
                factor = None
            return cls(mode=layer.mode, align_corners=layer.align_corners, factor=factor)
        return cls(mode=_LINEAR[axes], align_corners=False)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        factor = None if self.factor is None else list(self.factor)
        return _upsampled(x, list(size), factor, self.mode, self.align_corners)

    def frozen(self, size: Size) -> nn.Module:
        """This resizer with a fixed size."""
        settings = {"mode": self.mode, "align_corners": self.align_corners, "factor": self.factor}
        return FixedInterpolate(size, **settings)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}"


class FixedInterpolate(nn.Module):
    """Interpolation to a fixed size, or to the size given to a call; arguments as of `FollowInterpolate`."""

    def __init__(self, size: Size, *, mode: str, align_corners: bool | None, factor: PerAxis | None = None) -> None:
        super().__init__()
        self.size: list[int] = list(size)
        self.mode = mode
        self.align_corners = align_corners
        self.factor: list[float] | None = None if factor is None else list(factor)

    def forward(self, input: Tensor, size: list[int] | None = None) -> Tensor:
        return _upsampled(input, self.size if size is None else size, self.factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        return f"size={tuple(self.size)}, mode={self.mode!r}"


def _upsampled(x: Tensor, size: list[int], factor: list[float] | None, mode: str, align_corners: bool | None) -> Tensor:
    if factor is not None:
        given = [int(x.shape[i - len(size)] * factor[i]) for i in range(len(size))]
        if list(size) == given:
            return F.interpolate(x, None, factor, mode, align_corners)
    return F.interpolate(x, size, None, mode, align_corners)
