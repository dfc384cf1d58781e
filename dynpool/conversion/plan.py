"""What a plan is made of: resolutions, how their sizes follow from each other, and the role of each resizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from dynpool.graph.axes import Resize

from .report import Status
from .size_groups import Key

__all__ = ["Arithmetic", "PlannedNode", "Ratio", "Role", "alike", "place_at"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Arithmetic:
    """The size of a resolution from its parent's, by a layer that keeps its own arithmetic.

    `before` and `after` are the pixels by which the layer's input and output differ from their resolutions (padding,
    valid convolutions).
    """

    resize: Resize
    before: Pair = (0, 0)
    after: Pair = (0, 0)

    @property
    def steps(self) -> tuple[Fraction, Fraction]:
        """Pixels of the parent to one of its own, per axis; 1 where it upsamples."""
        h, w = self.resize.stride if self.resize.scale is None else (1, 1)
        return (Fraction(h), Fraction(w))

    def __call__(self, size: Pair) -> Pair:
        h, w = self.resize.output((size[0] + self.before[0], size[1] + self.before[1]))
        return (h - self.after[0], w - self.after[1])


@dataclass(frozen=True)
class Ratio:
    """A fixed multiple of the parent's size: what windows, patches and pixel shuffles make of it."""

    height: Fraction
    width: Fraction

    @property
    def steps(self) -> tuple[Fraction, Fraction]:
        """Pixels of the parent to one of its own, per axis."""
        return (1 / self.height, 1 / self.width)

    def __call__(self, size: Pair) -> Pair:
        return (math.ceil(size[0] * self.height), math.ceil(size[1] * self.width))


@dataclass
class PlannedNode:
    """A resolution: its parent, how its size comes about, and what its size must be a multiple of.

    `native` is the size by the original layers, None for the input.
    """

    name: str
    key: Key | None
    parent: int | None
    reference: Pair
    how: Literal["input", "learned", "pinned", "derived"]
    native: Arithmetic | Ratio | None = None
    multiple: Pair = (1, 1)


@dataclass
class Role:
    """What becomes of one resizer; `rewrite` says whether its layer is touched."""

    resize: Resize
    node: int | None
    status: Status
    why: str = ""
    rewrite: bool = False


def alike(a: Arithmetic, b: Arithmetic | Ratio | None) -> bool:
    """Whether two layers give the same size from any size."""
    if b is None:
        return False
    sizes = [(n + i, n + i) for n in a.resize.in_size for i in range(17)]
    return all(a(s) == b(s) for s in sizes)


def place_at(nodes: Sequence[PlannedNode], here: Mapping[int, Resize], hw: Pair) -> None:
    """Give planned nodes the sizes that the original model's layers give for an input of `hw` pixels.

    A structure read off at another input size knows which sizes must agree, but not how many pixels the model's code
    pads or crops at this one.

    Args:
        nodes: parents before children; `reference` and `native` are replaced.
        here: the same resizes in a trace at `hw`, by their nodes in the graph that was planned on; without those that
            do not run at that size.
        hw: (height, width) of the input in pixels.
    """
    for node in nodes:
        if node.native is None or node.parent is None:
            node.reference = hw
            continue
        above = nodes[node.parent].reference
        now = here.get(node.native.resize.node) if isinstance(node.native, Arithmetic) else None
        if not isinstance(node.native, Arithmetic) or now is None:
            node.reference = node.native(above)
            continue
        node.reference = _minus(now.out_size, node.native.after)
        node.native = Arithmetic(now, _minus(now.in_size, above), node.native.after)


def _minus(a: Pair, b: Pair) -> Pair:
    return (a[0] - b[0], a[1] - b[1])
