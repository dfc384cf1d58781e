"""Which dimensions of which tensors must agree in size: dimensions as products of atoms, and classes of spatial axes.

A dimension is a product of atoms, each a plain number or an axis: a view that flattens (H, W) to tokens and back keeps
both. Axes that must agree are united; a size that differs from its class's reference by a crop or a valid convolution
is the class plus an offset, the difference of the two sizes at tracing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .sizes import window_output_size

__all__ = ["Atom", "AxisClasses", "Dim", "Mac", "Resize", "constant_dims", "input_dims"]

Pair = tuple[int, int]
OptionalPair = tuple[int | None, int | None]


@dataclass(frozen=True)
class Atom:
    """A factor of a dimension: `size` at tracing, and the axis class it belongs to (None: a plain number)."""

    size: int
    axis: int | None = None


@dataclass(frozen=True)
class Dim:
    """A dimension of a tensor as the product of its atoms, outermost first; no atoms is size 1."""

    atoms: tuple[Atom, ...] = ()

    @property
    def size(self) -> int:
        return math.prod(a.size for a in self.atoms)

    @property
    def axis(self) -> int | None:
        """The axis class if the dimension is exactly one axis."""
        return self.atoms[0].axis if len(self.atoms) == 1 else None

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(a.axis for a in self.atoms if a.axis is not None)


class AxisClasses:
    """Union-find over the spatial axes; every class has a reference size and possibly a reason why it is pinned."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._size: list[int] = []
        self._pins: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._parent)

    def new(self, size: int) -> int:
        self._parent.append(len(self._parent))
        self._size.append(size)
        return len(self._parent) - 1

    def find(self, axis: int) -> int:
        while self._parent[axis] != axis:
            self._parent[axis] = self._parent[self._parent[axis]]
            axis = self._parent[axis]
        return axis

    def unite(self, a: int, b: int) -> None:
        a, b = sorted((self.find(a), self.find(b)))  # the older class gives the reference size
        if a != b:
            self._parent[b] = a
            if b in self._pins:
                self._pins.setdefault(a, self._pins.pop(b))

    def pin(self, axis: int, why: str) -> None:
        self._pins.setdefault(self.find(axis), why)

    def pinned(self, axis: int) -> str | None:
        """Why the class must keep its size, or None."""
        return self._pins.get(self.find(axis))

    def reference(self, axis: int) -> int:
        """Size of the class at tracing, in pixels."""
        return self._size[self.find(axis)]


@dataclass(frozen=True)
class Resize:
    """An operation after which height or width may have another size: a strided or learned layer.

    `kernel`, `stride`, `padding` and `dilation` are (height, width) pairs in pixels of the input; `source` and `target`
    are axis classes (None where the axis carries no resolution). `kind` is the operation's name.
    """

    node: int
    kind: str
    path: str
    call: int
    source: OptionalPair
    target: OptionalPair
    in_size: Pair
    out_size: Pair
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    fixed: bool = False  # the output size does not depend on the input's

    @property
    def learned(self) -> bool:
        """Whether a resizer of this library ran: a `LearnedResizer2d` or one that follows it."""
        return self.kind in ("dynopool2d", "resizer")

    def output(self, size: Pair) -> Pair:
        """Output size in pixels at another input size, by the operation's own arithmetic."""
        if self.fixed:
            return self.out_size
        if size == self.in_size:
            return self.out_size
        h, w = (
            window_output_size(n, k, s, p, d, ceil_mode=self.ceil_mode)
            for n, k, s, p, d in zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        return (h, w)


@dataclass(frozen=True)
class Mac:
    """Multiply-accumulates of one operation at tracing; they grow in proportion to each axis in `axes`."""

    node: int
    kind: str
    path: str
    macs: int
    axes: tuple[tuple[int, int], ...]  # (axis class, size at tracing)


def constant_dims(shape: Sequence[int]) -> tuple[Dim, ...]:
    """Dimensions that carry no resolution."""
    return tuple(Dim((Atom(int(n)),)) if n != 1 else Dim() for n in shape)


def input_dims(classes: AxisClasses, shape: Sequence[int]) -> tuple[Dim, ...]:
    """Dimensions of an image batch: the last two open the classes of height and width."""
    spatial = tuple(Dim((Atom(n, classes.new(n)),)) if n != 1 else Dim() for n in shape[-2:])
    return constant_dims(shape[:-2]) + spatial
