"""The context of a rule: the values of one operation, and functions that unite, crop and pin dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from dynpool.graph.axes import Axes
from dynpool.graph.dims import Atom, Dim
from dynpool.graph.primitives import Make
from dynpool.graph.record import Node, Record, Shape, Value

__all__ = ["Context", "Dims", "more_specific"]

Dims = tuple[Dim, ...]


class Context:
    """The operation that a rule is applied to, with its values and the classes of the graph.

    `others` are the output shapes in the second trace, with a larger input; None without a counterpart there.
    """

    def __init__(self, record: Record, axes: Axes, node: Node) -> None:
        self.record = record
        self.axes = axes
        self.node = node
        self.classes = axes.classes
        self.others = self._others()

    def _others(self) -> tuple[Shape, ...] | None:
        """Output shapes in the second pass, if it ran the same operation on the corresponding inputs.

        The passes differ where the model's code branches on a size.
        """
        inputs, outputs = self.record.others.get(self.node.place, ((), None))
        dims = [self.axes.dims[v] for v in self.node.inputs]
        same = len(inputs) == len(dims) and all(
            len(shape) == len(ds) and all(d.other in (None, n) for d, n in zip(ds, shape, strict=True))
            for ds, shape in zip(dims, inputs, strict=True)
        )
        if outputs is not None and same:
            return outputs
        self.axes.unmatched += bool(self.record.others) and any(d.axes for ds in dims for d in ds)
        return None

    def dims(self, value: Value) -> Dims:
        return self.axes.dims[value.id]

    @property
    def inputs(self) -> list[Value]:
        return [self.record.values[v] for v in self.node.inputs]

    @property
    def out(self) -> Value:
        return self.record.values[self.node.outputs[0]]

    def other(self, dim: int, output: int = 0) -> int | None:
        """Size of a dimension of an output in the second trace."""
        shape = self.record.values[self.node.outputs[output]].shape
        if self.others is None or len(self.others) <= output or len(self.others[output]) != len(shape):
            return None
        return self.others[output][dim]

    def unrelated(self, dim: int, output: int = 0) -> Dim:
        """An output dimension not derived from an input: a number, or a free class if it varies with the input size."""
        shape, other = self.record.values[self.node.outputs[output]].shape, self.other(dim, output)
        n = shape[dim]
        self.notice(n, other)
        if other in (None, n):
            return Dim((Atom(n, None, other),)) if n != 1 else Dim()
        return Dim((Atom(n, self.classes.new(n, free=True), other),))

    def notice(self, size: int, other: int | None) -> None:
        """Note if a single pixel or window here becomes several at a larger input, so that its origin is hidden."""
        self.axes.collapsed |= size == 1 and other not in (None, 1)

    def all_unrelated(self, output: int = 0) -> tuple[Dim, ...]:
        rank = len(self.record.values[self.node.outputs[output]].shape)
        return tuple(self.unrelated(i, output) for i in range(rank))

    def pin(self, dims: Sequence[Dim], why: str) -> None:
        for dim in dims:
            for axis in dim.axes:
                self.classes.pin(axis, f"{why} in {self.node.path or 'the model'} ({self.node.op})")

    # --- one axis out of a dimension ----------------------------------------------------------------------------------

    def single(self, dim: Dim) -> Dim:
        """The dimension as one axis, if it is a plain multiple of one."""
        if len(dim.atoms) < 2 or len(dim.axes) != 1:
            return dim
        (atom,) = (a for a in dim.atoms if a.axis is not None)
        return Dim((Atom(dim.size, self.times(atom, Fraction(dim.size, atom.size)), dim.other),))

    def rejoined(self, dim: Dim) -> Dim:
        """The dimension as its original axis, if all parts of a split have been joined again."""
        if len(dim.atoms) > 1 and len(dim.axes) == 1:
            (atom,) = (a for a in dim.atoms if a.axis is not None)
            ratio = self.classes.base(dim.axes[0])[1]
            if ratio < 1 and ratio * Fraction(dim.size, atom.size) == 1:
                return self.single(dim)
        return dim

    def times(self, atom: Atom, ratio: Fraction) -> int:
        """The class of `ratio` times the axis of `atom`; without padding the size must divide evenly."""
        assert_axis = atom.axis if atom.axis is not None else -1
        offset = atom.size - self.classes.reference(assert_axis)
        if offset == 0:
            self.classes.require_multiple(assert_axis, ratio.denominator)
        return self.classes.scaled(assert_axis, ratio, int(atom.size * ratio), up=offset > 0)

    def section(self, dim: Dim, start: int, size: int, other: int | None) -> Dim:
        """The dimension after a crop to `size` pixels from `start` on; `other` is the size in the second trace."""
        if size == dim.size and other in (None, dim.other):
            return dim
        parts = self.classes.parts(dim.axis) if dim.axis is not None else ()
        at, kept = 0, []
        for part in parts:
            if at >= start and at + part.size <= start + size:
                kept.append(part)
            at += part.size
        if kept and sum(p.size for p in kept) == size:
            return kept[0] if len(kept) == 1 else Dim((Atom(size, self.classes.sum(kept), other),))
        dim = self.single(dim)
        if dim.axis is None or size <= 1 or (other == size and dim.other != dim.size):
            free = dim.axis is not None and self.classes.is_free(dim.axis)
            if not free and not self._is_made():  # the border of a mask, or around a map, is there at every size
                self.pin((dim,), "cut or padded to a fixed size")
            return Dim((Atom(size, None, other),)) if size != 1 else Dim()
        ratio = Fraction(size, dim.size)
        even = other is not None and dim.other is not None and ratio == Fraction(other, dim.other)
        if even and ratio < 1:
            return Dim((Atom(size, self.times(dim.atoms[0], ratio), other),))
        return Dim((Atom(size, dim.axis, other),))  # the class plus an offset

    def _is_made(self) -> bool:
        """Whether the first input is a tensor that the pass makes and writes into, as circular padding does."""
        maker = self.record.makers.get(self.node.inputs[0])
        return maker is not None and isinstance(maker.primitive, Make)

    def cut(self, atom: Atom, outer: tuple[int, int | None], inner: tuple[int, int | None]) -> tuple[Atom, Atom]:
        """Split an atom into two factors, given as sizes in both traces: the one that varies carries the resolution."""
        plain = Atom(outer[0], None, outer[1]), Atom(inner[0], None, inner[1])
        self.notice(*outer)
        self.notice(*inner)
        if atom.axis is None:
            return plain
        fixed = [n == m for n, m in (outer, inner)]
        if None in (outer[1], inner[1]) or all(fixed) or (not any(fixed) and not self.classes.is_free(atom.axis)):
            self.pin((Dim((atom,)),), f"split by a view into blocks of {inner[0]}")
            return plain
        if not any(fixed):
            return (
                Atom(outer[0], self.classes.new(outer[0], free=True), outer[1]),
                Atom(inner[0], self.classes.new(inner[0], free=True), inner[1]),
            )
        if fixed[0]:
            return plain[0], Atom(inner[0], self.times(atom, Fraction(1, outer[0])), inner[1])
        return Atom(outer[0], self.times(atom, Fraction(1, inner[0])), outer[1]), plain[1]

    # --- dimensions that agree ----------------------------------------------------------------------------------------

    def unify(self, a: Dim, b: Dim, why: str) -> Dim:
        """The common dimension of two equal-sized dimensions that must agree."""
        if a == b or not (a.axes or b.axes):
            return a
        left, right = list(a.atoms), list(b.atoms)
        while left or right:
            xs, ys = left[:1], right[:1]
            del left[:1], right[:1]
            while _size(xs) != _size(ys):
                short, rest = (xs, left) if _size(xs) < _size(ys) else (ys, right)
                if not rest:
                    self.pin((a, b), "combined with a dimension that is split differently")
                    return a if a.axes else b
                short.append(rest.pop(0))
            self._agree(xs, ys, why)
        return more_specific(a, b)

    def _agree(self, xs: list[Atom], ys: list[Atom], why: str) -> None:
        a, b = Dim(tuple(xs)), Dim(tuple(ys))
        if not a.axes and not b.axes:
            return
        if not a.axes or not b.axes:
            self.pin((a, b), why)
            return
        for one, many in ((a, b), (b, a)):
            if one.axis is None:
                continue
            if many.axis is not None:
                self.classes.unite(one.axis, many.axis)
                return
            if self.classes.is_free(one.axis):
                self.classes.unite(one.axis, self.classes.sum((many,)))
                return
            if len(many.axes) == 1:
                whole = self.single(many)
                self.classes.unite(one.axis, whole.axis if whole.axis is not None else one.axis)
                return
            if self.classes.parts(one.axis) == (many,):
                return
        find = self.classes.find
        if sorted(map(find, a.axes)) != sorted(map(find, b.axes)):
            self.pin((a, b), "combined with a dimension that is split differently")


def more_specific(a: Dim, b: Dim) -> Dim:
    """The more specific of two equal dimensions: a product rather than the single class that stands for it."""
    return a if a.axes and (len(a.atoms) > 1 or not b.axes or len(b.atoms) == 1) else b


def _size(atoms: list[Atom]) -> int:
    return math.prod(a.size for a in atoms)
