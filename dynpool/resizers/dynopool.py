"""DynOPool2d: the operator as a module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynpool.size_math import Pair, alpha_range, effective_kernel, output_size, pair, sample_kernel

from .fixed import FixedPool2d, FixedStrides2d
from .functional import Reduce, check_reduce, dynopool2d, sizes_from_alpha
from .host_values import gathered
from .learned_alpha import constrain_resizers, host_alphas, set_alpha, usable_alphas
from .learned_resizer import LearnedResizer2d

__all__ = ["DynOPool", "DynOPool2d", "constrain_resizers", "host_alphas", "set_alpha"]


class DynOPool2d(LearnedResizer2d):
    """Pooling with a learned stride per axis (Jang et al., CVPR 2022); see :func:`dynpool.dynopool2d`.

    Shape: (N, C, H, W) or (C, H, W) to the same with (H_out, W_out).

    Args:
        alpha: initial stride in input pixels per output pixel, one number or (height, width). Learned as the float32
            parameter ``alpha`` of shape (2,), which stays float32 when the module is cast. Ignored if ``tied_to`` is
            given.
        reduce: "max", "mean" or "sample".
        bounds: lowest and highest scale factor (output size / input size) per axis. Ignored if ``tied_to`` is given.
        tied_to: another DynOPool2d whose alpha and bounds this one uses; then ``alpha`` is None here. The other module
            is not registered as a child.

    Raises:
        ValueError: if alpha is not finite and positive or is outside the bounds, or reduce or bounds are out of range.
        TypeError: if ``tied_to`` is not a DynOPool2d.

    The host must read alpha to determine the output size. It does so only if ``forward`` is given no size, and from an
    accelerator only if alpha has changed. Changes are detected after :func:`constrain_resizers`, and if PyTorch counts
    them, which it does not for fused optimisers and writes through ``alpha.data`` (use :func:`set_alpha`, or
    ``alpha.copy_`` under ``torch.no_grad()``). Values are brought into the bounds, in the parameter too. A compiled
    module keeps the size within the bounds but not the parameter: call :func:`constrain_resizers` after each step.
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 2.0,
        *,
        reduce: Reduce = "max",
        bounds: Pair = (1 / 8, 2.0),
        tied_to: DynOPool2d | None = None,
    ) -> None:
        check_reduce(reduce)
        super().__init__(alpha, bounds=bounds, tied_to=tied_to)
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """x resized to ``size`` (H_out, W_out); by default the size that alpha gives."""
        alpha = gathered(self.shared_alpha(), averaged=True)
        if size is None:
            if torch.compiler.is_compiling():  # a compiled graph cannot update Python state: clip the value read
                size = pair(sizes_from_alpha(alpha, x, alpha_range(self.bounds)))
            elif isinstance(x, Tensor) and x.dim() >= 2 and 0 not in x.shape[-2:]:  # else it says what is wrong
                size = self.own_size(x)
        return dynopool2d(x, alpha, reduce=self.reduce, size=size)

    def output_size(self, size: Pair, strides: Pair) -> tuple[int, int]:
        """``round(max(size / stride, 1.5))`` per axis (Eq. 1 and section 5.1)."""
        return output_size(size[0], strides[0]), output_size(size[1], strides[1])

    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        """Pixels under the queries of a cell, or under the single point of "sample"; the same on all paths."""
        pixels = (sample_kernel if self.reduce == "sample" else effective_kernel)(size_in, size_out)
        return pixels, pixels

    def frozen(self, size: tuple[int, int]) -> FixedPool2d:
        """This resizer with a fixed size, as native PyTorch operations."""
        return FixedPool2d(size, reduce=self.reduce)

    def with_fixed_strides(self) -> FixedStrides2d:
        """This resizer with its present alpha fixed, as native PyTorch operations."""
        return FixedStrides2d(usable_alphas([self])[0], reduce=self.reduce)

    def extra_repr(self) -> str:
        """Alpha, the reduction and the bounds, as shown by print."""
        alpha = self.shared_alpha()
        values = ", ".join(f"{value:.4g}" for value in alpha.tolist()) if not alpha.is_meta else "meta"
        tied = ", tied" if self._tied else ""
        return f"alpha=({values}), reduce={self.reduce!r}, bounds=({self.bounds[0]:g}, {self.bounds[1]:g}){tied}"


DynOPool = DynOPool2d
