"""The nodes of a tree of resolutions: the rule for the size of each, and the output size of each resizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dynpool.resizers import LearnedResizer
from dynpool.size_math import AXES, Pair, PerAxis, Size, axes_text, round_to_multiple

from .stride_forms import Strided

__all__ = ["Derived", "Learned", "Pinned", "ResolutionNode", "Slot", "bounds_around", "learned_nodes"]


@dataclass
class Learned:
    """A size computed from that of the parent and an alpha, rounded to a multiple of some pixels.

    Attributes:
        multiple: the pixels that sizes are a multiple of, one number for each axis.
        resizer: the resizer that owns the alpha; None during planning.
        lowest, highest: smallest and largest size in pixels at which the model runs; empty: no limit.
        limited_by: what happens beyond them; empty without limits.
    """

    multiple: Size = (1, 1)
    resizer: LearnedResizer[Any] | None = None
    lowest: Size = ()
    highest: PerAxis = ()
    limited_by: str = ""

    def __post_init__(self) -> None:
        self.lowest = self.lowest or (1,) * len(self.multiple)
        self.highest = self.highest or (math.inf,) * len(self.multiple)

    def rounded(self, size: Size) -> Size:
        """The nearest multiple."""
        return tuple(round_to_multiple(n, m) for n, m in zip(size, self.multiple, strict=True))

    def admit(self, size: Size) -> Size:
        """The size nearest to the given one, in pixels, that the model can have here."""
        limits = zip(self.rounded(size), self.lowest, self.highest, strict=True)
        return tuple(int(min(max(n, low), high)) for n, low, high in limits)

    def admitted(self) -> str:
        """A description of the sizes that :meth:`admit` does not change."""
        axes = len(self.multiple)
        said = [f"{axes_text(axes)} in multiples of {self.multiple} pixels"]
        for axis, low, high in zip(AXES[axes], self.lowest, self.highest, strict=True):
            if low == high:
                said.append(f"{axis} {low}")
            elif (low, high) != (1, math.inf):
                ends = [f"at least {low}"] * (low > 1) + [f"at most {high}"] * (high < math.inf)
                said.append(f"{axis} {' and '.join(ends)}")
        return ", ".join(said) + (f" ({self.limited_by})" if self.limited_by else "")


@dataclass(frozen=True)
class Pinned:
    """A fixed size in pixels."""

    size: Size


@dataclass(frozen=True)
class Derived:
    """A size computed from that of the parent by the arithmetic of an unchanged layer.

    Attributes:
        rule: that arithmetic, in pixels.
        strides: strides of the layer, if sizes with fractions are to pass it without rounding.
    """

    rule: Callable[[Size], Size]
    strides: PerAxis | None = None


@dataclass
class ResolutionNode:
    """A resolution; without a parent it is the input, which has no rule.

    Attributes:
        name: the module path of the layer that opens it.
        parent: the index of its parent in the tree.
        reference: size at the conversion, in pixels.
        rule: how its size is computed.
    """

    name: str
    parent: int | None
    reference: Size
    rule: Learned | Pinned | Derived | None = None


def learned_nodes(nodes: Iterable[ResolutionNode]) -> list[tuple[int, Learned, LearnedResizer[Any]]]:
    """The learned resolutions by their index in the tree, with the resizers that own their alphas."""
    learned = ((i, node.rule) for i, node in enumerate(nodes) if isinstance(node.rule, Learned))
    return [(i, rule, rule.resizer) for i, rule in learned if rule.resizer is not None]


def bounds_around(alpha: PerAxis) -> Pair:
    """The default bounds, widened if needed so that an alpha can change by a factor of two in both directions."""
    return (min(1 / 8, 1 / (2 * max(alpha))), max(2.0, 2 / min(alpha)))


@dataclass
class Slot:
    """The output size of one resizer: the size of its resolution times `multiple` plus `offset` pixels, per axis.

    Attributes:
        resolution: the index of the resolution in the tree.
        size: of the output in pixels, set before the model runs.
        strided: the stride of the layer before it, if this resizer replaces that stride.
        key: the key under which compiled code finds the size of the resolution; None: the size is a constant there.
        source: the resolution that it resizes from, if known.
        margin: pixels by which its input map is larger than that resolution.
    """

    resolution: int
    offset: Size = (0, 0)
    multiple: Size = (1, 1)
    size: Size = ()
    strided: Strided | None = None
    key: str | None = None
    source: int | None = None
    margin: Size = (0, 0)

    def target(self, size: Size) -> Size:
        return tuple([max(n * m + o, 1) for n, m, o in zip(size, self.multiple, self.offset, strict=True)])

    def fill(self, size: Size) -> None:
        """Set the size of the resolution in the next pass."""
        self.size = self.target(size)
