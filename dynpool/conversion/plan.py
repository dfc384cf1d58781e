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
    before: Size = ()
    after: Size = ()

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            object.__setattr__(self, name, getattr(self, name) or (0,) * self.resize.axes)

    @property
    def steps(self) -> tuple[Fraction, ...]:
        """Number of pixels of the parent per own pixel, per axis; 1 where the layer upsamples."""
        upsamples = self.resize.scale is not None
        return tuple(Fraction(1 if upsamples else stride) for stride in self.resize.stride)

    def __call__(self, size: Size) -> Size:
        out = self.resize.output(tuple(n + m for n, m in zip(size, self.before, strict=True)))
        return _minus(out, self.after)


@dataclass(frozen=True)
class Ratio:
    """A fixed multiple of the parent's size, per axis, as by windows, patches and pixel shuffles."""

    parts: tuple[Fraction, ...]

    @property
    def steps(self) -> tuple[Fraction, ...]:
        """Number of pixels of the parent per own pixel, per axis."""
        return tuple(1 / part for part in self.parts)

    def __call__(self, size: Size) -> Size:
        return tuple(math.ceil(n * part) for n, part in zip(size, self.parts, strict=True))


def alike(a: Arithmetic, b: Arithmetic | Ratio) -> bool:
    """Whether two layers give the same output size for any input size."""
    sizes = [(n + i,) * a.resize.axes for n in a.resize.in_size for i in range(17)]
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
            hw: the size of the input in pixels, (height, width) or as many numbers as it has axes.
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
    return tuple(n - m for n, m in zip(a, b, strict=True))
