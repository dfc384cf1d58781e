"""What every learned resizer has in common, and the arithmetic the tree of resolutions asks for.

`convert`, the tree of resolutions, the GMACs loss, `freeze`, the tracer and the receptive fields know resizers by this
class alone, so that DynOPool, its competitors and resizers of your own stand in the same places of a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dynpool.size_math import Pair, Size

from .learned_alpha import LearnedAlpha, constrain_pools, usable_alphas

__all__ = ["Chain", "LearnedResizer2d", "learned_resizers"]


@dataclass(frozen=True)
class Chain:
    """The resizers on the way from the input to a last one, and the unrounded (height, width) in pixels behind it."""

    resizers: tuple[LearnedResizer2d, ...]
    size: Pair


class LearnedResizer2d(LearnedAlpha, ABC):
    """A module ``x, size -> y`` that resizes feature maps by what it learns: the base class of all learned resizers.

    Shape: (N, C, H, W) to (N, C, H_out, W_out). In a converted model the tree of resolutions computes all sizes on the
    host before the pass and hands ``size`` over; without it the module finds its own with :meth:`own_size`.

    What is learned is the float32 parameter ``alpha`` of shape (2,): one number for the height, one for the width; or
    of shape (1,): one for both. It keeps its dtype whatever the model is cast to, is None where another resizer's is
    used (``tied_to``), gets the optimiser group "alphas" and stays finite through :func:`dynpool.constrain`.

    To write your own, derive from this class and give

    - ``__init__(self, strides, *, reduce, bounds, tied_to)``: :func:`dynpool.convert` calls it with the (height, width)
      strides of the layer replaced, ``reduce`` ("max", "mean" or "sample": what that layer did) and bounds on the scale
      factor, or with ``reduce`` and ``tied_to`` alone;
    - :meth:`forward`, :meth:`output_size`, :meth:`footprint` and :meth:`frozen`.

    That is all if ``alpha`` is the stride itself, input pixels per output pixel. If it is something else, say how with
    :meth:`strides`, :meth:`values_of`, :meth:`learned_strides`, :meth:`values_for`, :meth:`checked` and
    :meth:`project`. If the sizes depend on the whole network, see :attr:`looks_at_chains` and :attr:`keeps_fractions`.

    Args:
        alpha: initial value, one number or (height, width); not used if ``tied_to`` is given.
        bounds: lowest and highest scale factor (output size / input size) of an axis; not used if ``tied_to`` is given.
        tied_to: another resizer of the class, whose parameter this one uses. It is not registered as a child.
        shared: whether height and width share one number; wherever values are (height, width) pairs, they are equal.

    Raises:
        TypeError: if ``tied_to`` is not of this class.
        ValueError: if alpha or the bounds are out of range.

    Example:
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

    #: Whether the size handed down the network keeps its fraction and is rounded only where a map is made.
    keeps_fractions: bool = False

    #: Whether the sizes depend on all resizers of the network together, through :meth:`chain_factor`.
    looks_at_chains: bool = False

    # -- what a resizer must say about itself --

    @abstractmethod
    def forward(self, x: Tensor, size: Size | None = None) -> Tensor:
        """Resize x to ``size`` (H_out, W_out), or without it to the size that alpha gives."""

    @abstractmethod
    def output_size(self, size: Pair, strides: Pair) -> Size:
        """Output (height, width) in pixels for an input of ``size`` pixels at the given strides: a pure function.

        ``size`` has a fraction only where :attr:`keeps_fractions` holds.
        """

    @abstractmethod
    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        """How many input pixels along an axis one output pixel sees: on the narrowest path and on the widest.

        ``axis`` is 0 for the height, 1 for the width.
        `math.inf` where a path sees the whole axis.
        """

    @abstractmethod
    def frozen(self, size: Size) -> nn.Module:
        """A plain module ``x -> y`` without parameters that computes what this one does now, at one output size.

        If its forward takes a ``size`` as well, a frozen model hands it the size that follows from the input's;
        otherwise it stays at the one size.
        """

    def learned_strides(self, alpha: Tensor) -> Tensor:
        """:meth:`strides` as tensors, (2,) or (1,) to (2,), differentiable: for the GMACs loss (Eq. 7)."""
        return alpha.expand(2)

    def own_size(self, x: Tensor) -> Size:
        """(H_out, W_out) that the parameter gives for x, after what it holds has been brought into bounds."""
        constrain_pools([self], trust=None)
        return self.output_size((x.shape[-2], x.shape[-1]), self.strides(usable_alphas([self])[0]))

    # -- sizes that depend on the whole network --

    @classmethod
    def chain_factor(cls, chains: Sequence[Chain]) -> Pair | None:
        """By what (height, width) the scale factors of all resizers of this class in a model are multiplied.

        A pure function of the chains from the input to each last resizer, asked for where :attr:`looks_at_chains`
        holds; None: by nothing. The strides handed to :meth:`output_size` are divided by it, and :meth:`scaled_by`
        hears of it before a pass.
        """
        return None

    def scaled_by(self, factor: Pair | None) -> None:
        """Take note of the :meth:`chain_factor` of the next pass; called on the owner of each parameter."""


def learned_resizers(model: nn.Module, *, owners: bool = False) -> dict[str, LearnedResizer2d]:
    """All learned resizers of a model by module path; or those alone that own an alpha, not a tie to another's."""
    found = {path: module for path, module in model.named_modules() if isinstance(module, LearnedResizer2d)}
    return {path: resizer for path, resizer in found.items() if not owners or resizer.alpha is not None}
