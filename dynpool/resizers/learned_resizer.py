"""What every learned resizer has in common, and the arithmetic the tree of resolutions asks for.

`convert`, the tree of resolutions, the GMACs loss, `freeze`, the tracer and the receptive fields know resizers by this
class alone, so that DynOPool, its competitors and resizers of your own stand in the same places of a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from dynpool.size_math import Pair, PerAxis, Size

from .learned_alpha import LearnedAlpha, V, constrain_resizers, usable_alphas

__all__ = ["Chain", "LearnedResizer", "LearnedResizer2d", "learned_resizers"]


@dataclass(frozen=True)
class Chain:
    """The resizers on a path from the input to a last one, and the unrounded size in pixels behind it."""

    resizers: tuple[LearnedResizer[Any], ...]
    size: PerAxis


class LearnedResizer(LearnedAlpha[V], ABC):
    """The base class of all learned resizers: a module ``x, size -> y`` that resizes feature maps to learned sizes.

    Sizes, strides and values have a number for each axis: (height, width) in a :class:`LearnedResizer2d`, (length,) in
    a class with ``axes = 1``, (depth, height, width) in one with ``axes = 3``. What is said there of two axes holds for
    as many.
    """

    #: Whether sizes keep their fractions along the network and are rounded only for the maps themselves.
    keeps_fractions: bool = False

    #: Whether the sizes depend on all resizers of the network, through :meth:`chain_factor`.
    looks_at_chains: bool = False

    # -- abstract methods --

    @abstractmethod
    def forward(self, x: Tensor, size: Any = None) -> Tensor:
        """x resized to ``size``; by default the size that alpha gives."""

    @abstractmethod
    def output_size(self, size: V, strides: V) -> Size:
        """Output size in pixels for an input of ``size`` pixels at the given strides: a pure function.

        ``size`` may have a fraction only if :attr:`keeps_fractions` is True.
        """

    @abstractmethod
    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        """The number of input pixels along an axis that an output pixel depends on, on the narrowest and widest path.

        ``axis`` counts from 0: of two axes, 0 is the height, 1 the width. `math.inf` stands for the whole axis.
        """

    @abstractmethod
    def frozen(self, size: Any) -> nn.Module:
        """A plain module ``x -> y`` without parameters that computes the same as this one does now, at a fixed size.

        If its forward also takes a ``size``, a frozen model passes the size that follows from the input size; otherwise
        the size stays fixed.
        """

    def values_for(self, size_in: V, size_out: Any) -> V:
        """Values of the parameter that resize ``size_in`` to ``size_out``, both in pixels.

        Raises:
            ValueError: if there are none.
        """
        return cast("V", tuple([n / m for n, m in zip(size_in, size_out, strict=True)]))

    def learned_strides(self, alpha: Tensor) -> Tensor:
        """:meth:`strides` as a differentiable tensor, (axes,) or (1,) to (axes,), for the GMACs loss (Eq. 7)."""
        return alpha.expand(self.axes)

    def own_size(self, x: Tensor) -> Size:
        """The size that the parameter gives for x, after it has been brought into its bounds."""
        constrain_resizers([self], trust=None)
        return self.output_size(cast("V", tuple(x.shape[-self.axes :])), self.strides(usable_alphas([self])[0]))

    # -- sizes that depend on the whole network --

    @classmethod
    def chain_factor(cls, chains: Sequence[Chain]) -> V | None:
        """The factor for the scale factors of all resizers of this class in a model, per axis; None: no factor.

        A pure function of the chains from the input to each last resizer, called if :attr:`looks_at_chains` is True.
        The strides passed to :meth:`output_size` are divided by it, and :meth:`scaled_by` is called with it before a
        pass.
        """
        return None

    def scaled_by(self, factor: V | None) -> None:
        """Store the :meth:`chain_factor` of the next pass; called on the owner of each parameter."""


class LearnedResizer2d(LearnedResizer[Pair]):
    """The base class of learned resizers of images.

    Shape: (N, C, H, W) to (N, C, H_out, W_out). In a converted model the tree of resolutions computes all sizes on the
    host before the pass and passes ``size``; without it the module determines its size with :meth:`own_size`.

    The learned parameter is ``alpha``, float32, of shape (2,) (height and width) or (1,) (the same for both). It keeps
    its dtype when the model is cast, is None if another resizer's is used (``tied_to``), belongs to the optimiser group
    "alphas" and is kept finite by :func:`dynpool.constrain`.

    To write your own, derive from this class and define

    - ``__init__(self, strides, *, reduce, bounds, tied_to)``: :func:`dynpool.convert` calls it with the (height, width)
      strides of the layer replaced, ``reduce`` ("max", "mean" or "sample", as that layer did) and bounds on the scale
      factor, or only with ``reduce`` and ``tied_to``;
    - :meth:`forward`, :meth:`output_size`, :meth:`footprint` and :meth:`frozen`.

    That is all if ``alpha`` is the stride itself, input pixels per output pixel. Otherwise also override
    :meth:`strides`, :meth:`values_of`, :meth:`learned_strides`, :meth:`values_for`, :meth:`checked` and
    :meth:`project`. If the sizes depend on the whole network, see :attr:`looks_at_chains` and :attr:`keeps_fractions`.

    Args:
        alpha: initial value, one number or (height, width); ignored if ``tied_to`` is given.
        bounds: lowest and highest scale factor (output size / input size) per axis; ignored if ``tied_to`` is given.
        tied_to: another resizer of the class, whose parameter this one uses. It is not registered as a child.
        shared: whether height and width share one number; (height, width) pairs of values are then equal.

    Raises:
        TypeError: if ``tied_to`` is not of this class.
        ValueError: if alpha or the bounds are out of range.

    Example:
        >>> import torch
        >>> import dynpool
        >>> from torch.nn import functional as F
        >>> class Average(dynpool.LearnedResizer2d):
        ...     def __init__(self, strides=2.0, *, reduce="mean", bounds=(1 / 8, 2.0), tied_to=None):
        ...         super().__init__(strides, bounds=bounds, tied_to=tied_to)
        ...     def output_size(self, size, strides):
        ...         return max(round(size[0] / strides[0]), 1), max(round(size[1] / strides[1]), 1)
        ...     def forward(self, x, size=None):
        ...         return F.adaptive_avg_pool2d(x, self.own_size(x) if size is None else size)
        ...     def footprint(self, size_in, size_out, axis):
        ...         return (-(-size_in // size_out),) * 2
        ...     def frozen(self, size):
        ...         return nn.AdaptiveAvgPool2d(size)
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> learned = dynpool.convert(net, (3, 32, 32), pool=Average)
        >>> dynpool.set_sizes(learned, {"1": (12, 20)})
        >>> learned(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 12, 20])
    """

    axes = 2


def learned_resizers(model: nn.Module, *, owners: bool = False) -> dict[str, LearnedResizer[Any]]:
    """All learned resizers of a model by module path; or those alone that own an alpha, not a tie to another's."""
    found = {path: module for path, module in model.named_modules() if isinstance(module, LearnedResizer)}
    return {path: resizer for path, resizer in found.items() if not owners or resizer.alpha is not None}
