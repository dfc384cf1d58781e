"""The operator as modules: DynOPool2d, and DynOPool1d and DynOPool3d for sequences and volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dynpool.size_math import Pair, Size, alpha_range, effective_kernel, output_size, sample_kernel

from .fixed import FixedPool, FixedStrides1d, FixedStrides2d, FixedStrides3d, fixed_pool_class
from .functional import Reduce, check_reduce, dynopool1d, dynopool2d, dynopool3d, sizes_from_alpha
from .host_values import gathered
from .learned_alpha import V, constrain_resizers, host_alphas, set_alpha, usable_alphas
from .learned_resizer import LearnedResizer, LearnedResizer2d

__all__ = [
    "DynOPool",
    "DynOPool1d",
    "DynOPool2d",
    "DynOPool3d",
    "DynOPoolAxes",
    "constrain_resizers",
    "dynopool_class",
    "host_alphas",
    "set_alpha",
]  # fmt: skip


class DynOPoolAxes(LearnedResizer[V]):
    """What the modules of one, two and three axes have in common; see :class:`DynOPool2d`."""

    _function: ClassVar[Callable[..., Tensor]]
    _fixed_strides: ClassVar[Callable[..., nn.Module]]

    def __init__(
        self,
        alpha: float | Sequence[float] = 2.0,
        *,
        reduce: Reduce = "max",
        bounds: Pair = (1 / 8, 2.0),
        tied_to: Self | None = None,
    ) -> None:
        check_reduce(reduce)
        super().__init__(alpha, bounds=bounds, tied_to=tied_to)
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor, size: Any = None) -> Tensor:
        """x resized to ``size``, by default the size that alpha gives."""
        alpha = gathered(self.shared_alpha(), averaged=True)
        if size is None:
            if torch.compiler.is_compiling():  # a compiled graph cannot update Python state: clip the value read
                size = sizes_from_alpha(alpha, x, alpha_range(self.bounds))
            elif isinstance(x, Tensor) and x.dim() >= self.axes and 0 not in x.shape[-self.axes :]:
                size = self.own_size(x)  # else it says what is wrong
        return self._function(x, alpha, reduce=self.reduce, size=size)

    def output_size(self, size: V, strides: V) -> Size:
        """``round(max(size / stride, 1.5))`` per axis (Eq. 1 and section 5.1)."""
        return tuple(map(output_size, size, strides))

    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        """Pixels under the queries of a cell, or under the single point of "sample"; the same on all paths."""
        pixels = (sample_kernel if self.reduce == "sample" else effective_kernel)(size_in, size_out)
        return pixels, pixels

    def frozen(self, size: Any) -> FixedPool:
        """This resizer with a fixed size, as native PyTorch operations."""
        return fixed_pool_class(self.axes)(size, reduce=self.reduce)

    def with_fixed_strides(self) -> nn.Module:
        """This resizer with its present alpha fixed, as native PyTorch operations."""
        return type(self)._fixed_strides(usable_alphas([self])[0], reduce=self.reduce)

    def extra_repr(self) -> str:
        """Alpha, the reduction and the bounds, as shown by print."""
        alpha = self.shared_alpha()
        values = ", ".join(f"{value:.4g}" for value in alpha.tolist()) if not alpha.is_meta else "meta"
        tied = ", tied" if self._tied else ""
        return f"alpha=({values}), reduce={self.reduce!r}, bounds=({self.bounds[0]:g}, {self.bounds[1]:g}){tied}"


class DynOPool2d(DynOPoolAxes[Pair], LearnedResizer2d):
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

    _function = staticmethod(dynopool2d)
    _fixed_strides = FixedStrides2d


class DynOPool1d(DynOPoolAxes[tuple[float]]):
    """Pooling of sequences with a learned stride: :class:`DynOPool2d` along one axis; see :func:`dynpool.dynopool1d`.

    :func:`dynpool.convert` makes it for networks with an input_size of (channels, length).

    Shape: (N, C, L) or (C, L) to the same with L_out.

    Args:
        alpha: initial stride in input positions per output position, learned as the float32 parameter ``alpha`` of
            shape (1,).
        reduce, bounds, tied_to: as of :class:`DynOPool2d`.

    Raises:
        ValueError, TypeError: as :class:`DynOPool2d`.

    >>> DynOPool1d(2.5)(torch.zeros(1, 4, 30)).shape
    torch.Size([1, 4, 12])
    """

    axes = 1
    _function = staticmethod(dynopool1d)
    _fixed_strides = FixedStrides1d


class DynOPool3d(DynOPoolAxes[tuple[float, float, float]]):
    """Pooling of volumes with learned strides: :class:`DynOPool2d` along three axes; see :func:`dynpool.dynopool3d`.

    :func:`dynpool.convert` makes it for networks with an input_size of (channels, depth, height, width).

    Shape: (N, C, D, H, W) or (C, D, H, W) to the same with (D_out, H_out, W_out).

    Args:
        alpha: initial stride in input voxels per output voxel, one number or (depth, height, width), learned as the
            float32 parameter ``alpha`` of shape (3,).
        reduce, bounds, tied_to: as of :class:`DynOPool2d`.

    Raises:
        ValueError, TypeError: as :class:`DynOPool2d`.

    >>> DynOPool3d((1.0, 2.5, 4.0))(torch.zeros(1, 4, 8, 30, 32)).shape
    torch.Size([1, 4, 8, 12, 8])
    """

    axes = 3
    _function = staticmethod(dynopool3d)
    _fixed_strides = FixedStrides3d


DynOPool = DynOPool2d
_BY_AXES: dict[int, type[DynOPoolAxes[Any]]] = {kind.axes: kind for kind in (DynOPool1d, DynOPool2d, DynOPool3d)}


def dynopool_class(axes: int) -> type[DynOPoolAxes[Any]]:
    """The module of the operator for a number of axes."""
    return _BY_AXES[axes]
