"""The parts of a plan: resolutions, how their sizes follow from each other, and the role of each resizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from dynpool.graph import Resize
from dynpool.resolution import Derived, Pinned, ResolutionNode
from dynpool.size_math import Size

from .report import Status
from .size_groups import Key

__all__ = ["Arithmetic", "Ratio", "ResolutionPlan", "Role", "alike"]


@dataclass(frozen=True)
class Arithmetic:
    """The size of a resolution from its parent's, by a layer that keeps its own arithmetic.

    `before` and `after` are the pixels by which the layer's input and output differ from their resolutions (padding,
    valid convolutions).
    """

    resize: Resize
    before: Size = (0, 0)
    after: Size = (0, 0)

    @property
    def steps(self) -> tuple[Fraction, Fraction]:
        """Number of pixels of the parent per own pixel, per axis; 1 where the layer upsamples."""
        h, w = self.resize.stride if self.resize.scale is None else (1, 1)
        return (Fraction(h), Fraction(w))

    def __call__(self, size: Size) -> Size:
        h, w = self.resize.output((size[0] + self.before[0], size[1] + self.before[1]))
        return (h - self.after[0], w - self.after[1])


@dataclass(frozen=True)
class Ratio:
    """A fixed multiple of the parent's size, as by windows, patches and pixel shuffles."""

    height: Fraction
    width: Fraction

    @property
    def steps(self) -> tuple[Fraction, Fraction]:
        """Number of pixels of the parent per own pixel, per axis."""
        return (1 / self.height, 1 / self.width)

    def __call__(self, size: Size) -> Size:
        return (math.ceil(size[0] * self.height), math.ceil(size[1] * self.width))


def alike(a: Arithmetic, b: Arithmetic | Ratio) -> bool:
    """Whether two layers give the same output size for any input size."""
    sizes = [(n + i, n + i) for n in a.resize.in_size for i in range(17)]
    return all(a(s) == b(s) for s in sizes)


@dataclass
class Role:
    """What happens to one resizer; `rewrite` says whether its layer is changed."""

    resize: Resize
    node: int | None
    status: Status
    why: str = ""
    rewrite: bool = False


@dataclass
class ResolutionPlan:
    """The resolutions of a model, parents before children, and the role of each resizer in order of execution.

    Attributes:
        nodes: node 0 is the input. Learned nodes have no resizer yet.
        roles: of the resizers.
        keys: the axis classes of each resolution, by its index in `nodes`.
        original: how the layers of the original model compute each size, by the same index.
    """

    nodes: list[ResolutionNode] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)
    keys: dict[int, Key] = field(default_factory=dict)
    original: dict[int, Arithmetic | Ratio] = field(default_factory=dict)

    def place_at(self, here: Mapping[int, Resize], hw: Size) -> None:
        """Give the nodes the sizes that they have in the original model for an input of `hw` pixels.

        A structure traced at another input size shows which sizes must agree, but not how many pixels the model's code
        pads or crops at this one.

        Args:
            here: the same resizes in a trace at `hw`, by their nodes in the planned graph; without those that do not
                run at that size.
            hw: (height, width) of the input in pixels.
        """
        for i, node in enumerate(self.nodes):
            if node.parent is None:
                node.reference = hw
                continue
            above, original = self.nodes[node.parent].reference, self.original[i]
            now = here.get(original.resize.node) if isinstance(original, Arithmetic) else None
            if isinstance(original, Arithmetic) and now is not None:
                node.reference = _minus(now.out_size, original.after)
                self.original[i] = Arithmetic(now, _minus(now.in_size, above), original.after)
            else:
                node.reference = original(above)
            if isinstance(node.rule, Derived):
                node.rule = Derived(self.original[i])
            elif isinstance(node.rule, Pinned):
                node.rule = Pinned(node.reference)


def _minus(a: Size, b: Size) -> Size:
    return (a[0] - b[0], a[1] - b[1])
