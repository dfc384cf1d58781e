"""What a tree of resolutions is made of: how the size of each comes about, and what each resizer resizes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dynpool.resizers.learned_resizer import LearnedResizer2d
from dynpool.size_math import Pair, Size, round_to_multiple

from .stride_forms import Strided

__all__ = ["Derived", "Learned", "Pinned", "ResolutionNode", "Slot", "bounds_around", "learned_nodes"]


@dataclass
class Learned:
    """A size that follows from the parent's and an alpha, rounded to multiples of so many pixels.

    Attributes:
        multiple: those pixels, (height, width).
        pool: owns the alpha; None as long as the conversion is planned.
        lowest, highest: sizes in pixels at which the model runs.
        limited_by: what happens beyond them; empty: nothing.
    """

    multiple: Size = (1, 1)
    pool: LearnedResizer2d | None = None
    lowest: Size = (1, 1)
    highest: Pair = (math.inf, math.inf)
    limited_by: str = ""

    def rounded(self, size: Size) -> Size:
        """The nearest multiple."""
        h, w = (round_to_multiple(n, m) for n, m in zip(size, self.multiple, strict=True))
        return (h, w)

    def admit(self, size: Size) -> Size:
        """The size nearest to the given one, in pixels, that the model can have here."""
        limits = zip(self.rounded(size), self.lowest, self.highest, strict=True)
        h, w = (int(min(max(n, low), high)) for n, low, high in limits)
        return (h, w)

    def admitted(self) -> str:
        """The sizes that :meth:`admit` leaves as they are, in words."""
        said = [f"(height, width) in multiples of {self.multiple} pixels"]
        for axis, low, high in zip(("height", "width"), self.lowest, self.highest, strict=True):
            if low == high:
                said.append(f"{axis} {low}")
            elif (low, high) != (1, math.inf):
                said.append(
                    f"{axis} {f'at least {low}' if low > 1 else ''}{f'at most {high}' if high < math.inf else ''}"
                )
        return ", ".join(said) + (f" ({self.limited_by})" if self.limited_by else "")


@dataclass(frozen=True)
class Pinned:
    """A size in pixels that stays as it is."""

    size: Size


@dataclass(frozen=True)
class Derived:
    """A size that follows from the parent's by the arithmetic of a layer left alone.

    Attributes:
        rule: that arithmetic, in pixels.
        strides: of that layer, if what is counted in fractions of pixels is to pass it unrounded.
    """

    rule: Callable[[Size], Size]
    strides: Pair | None = None


@dataclass
class ResolutionNode:
    """A resolution; without a parent it is the input, which has no rule.

    Attributes:
        name: the module path of the layer that opens it.
        parent: the place of its parent in the tree.
        reference: size at the conversion, in pixels.
        rule: how its size comes about.
    """

    name: str
    parent: int | None
    reference: Size
    rule: Learned | Pinned | Derived | None = None


def learned_nodes(nodes: Iterable[ResolutionNode]) -> list[tuple[int, Learned, LearnedResizer2d]]:
    """The learned resolutions by their places in the tree, with the resizers that own their alphas."""
    learned = ((i, node.rule) for i, node in enumerate(nodes) if isinstance(node.rule, Learned))
    return [(i, rule, rule.pool) for i, rule in learned if rule.pool is not None]


def bounds_around(alpha: Pair) -> Pair:
    """The default bounds, widened where needed so that an alpha has a factor of two of room on both sides."""
    return (min(1 / 8, 1 / (2 * max(alpha))), max(2.0, 2 / min(alpha)))


@dataclass
class Slot:
    """What one resizer resizes to: its resolution's size times `multiple` plus `offset` pixels, per axis.

    Attributes:
        resolution: its place in the tree.
        height, width: of the output in pixels, filled in before the model runs.
        strided: the stride of the layer in front, if this resizer does what the stride did.
        key: under which compiled code finds the resolution's size; None: it takes it as a constant.
        source: the resolution that it resizes from, if that is known.
        margin: pixels by which the map that arrives is larger than that resolution.
    """

    resolution: int
    offset: Size = (0, 0)
    multiple: Size = (1, 1)
    height: int = 0
    width: int = 0
    strided: Strided | None = None
    key: int | None = None
    source: int | None = None
    margin: Size = (0, 0)

    def target(self, size: Size) -> Size:
        h, w = (max(n * m + o, 1) for n, m, o in zip(size, self.multiple, self.offset, strict=True))
        return (h, w)

    def fill(self, size: Size) -> None:
        """Take note of the size that the resolution has in the next pass."""
        self.height, self.width = self.target(size)
