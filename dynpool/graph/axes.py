"""Which dimensions of which tensors must agree in size: classes of spatial axes, and the resizes between them.

Axes that must agree are united. An axis that a crop or a valid convolution made smaller than the reference size of its
class is the class plus an offset: the difference of the two sizes at tracing.

A class can be derived from others: windows of 7 pixels divide a height into a class of height / 7, a pixel shuffle
multiplies it, a concatenation adds. A class is *free* as long as only the model's code determines its size (a grid made
during the pass, an interpolation to a given size): it is united with whatever it is combined with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

from dynpool.size_math import PerAxis, Size, window_output_size

from .dims import Atom, Dim, constant_dims
from .smooth import Smooth

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Axes", "AxisClasses", "Extent", "Resize", "input_dims"]

Extent = TypeVar("Extent", int, "npt.NDArray[np.int64]", Smooth)  # a size in pixels, an array of them, or a smooth one
OptionalAxes = tuple[int | None, ...]


def _factors(dim: Dim) -> list[tuple[int, bool]]:
    """The factors of a dimension: the size of each, and whether it is a plain number."""
    return [(a.size, a.axis is None) for a in dim.atoms]


@dataclass(frozen=True)
class _Scaled:
    """The size of a class as a fixed multiple of another: rounded down, or with `up` rounded up, as by padding."""

    base: int
    ratio: Fraction
    up: bool = False

    def size(self, base: Extent) -> Extent:
        if isinstance(base, Smooth):
            return base * float(self.ratio)
        times, parts = self.ratio.numerator, self.ratio.denominator
        return -(-base * times // parts) if self.up else base * times // parts


@dataclass
class AxisClasses:
    """Union-find over the spatial axes; each class has a reference size and, if it is pinned, the reason."""

    _parent: list[int] = field(default_factory=list)
    _size: list[int] = field(default_factory=list)
    _pins: dict[int, str] = field(default_factory=dict)
    _multiple: dict[int, int] = field(default_factory=dict)
    _free: set[int] = field(default_factory=set)
    _scaled: dict[int, _Scaled] = field(default_factory=dict)
    _sums: dict[int, tuple[Dim, ...]] = field(default_factory=dict)
    _below: dict[int, dict[Fraction, int]] = field(default_factory=dict)  # by base: its multiples, by ratio
    _ratios: list[tuple[int, int, Fraction]] = field(default_factory=list)  # see `ratios`

    def __len__(self) -> int:
        return len(self._parent)

    def new(self, size: int, *, free: bool = False) -> int:
        axis = len(self._parent)
        self._parent.append(axis)
        self._size.append(size)
        if free:
            self._free.add(axis)
        return axis

    def find(self, axis: int) -> int:
        while self._parent[axis] != axis:
            self._parent[axis] = self._parent[self._parent[axis]]
            axis = self._parent[axis]
        return axis

    def unite(self, a: int, b: int) -> None:
        a, b = sorted((self.find(a), self.find(b)))  # the older class keeps its reference size
        if a == b:
            return
        self._parent[b] = a
        if b in self._pins:
            self._pins.setdefault(a, self._pins.pop(b))
        self._multiple[a] = math.lcm(self._multiple.get(a, 1), self._multiple.pop(b, 1))
        self._merge_derivations(a, b)
        for ratio, below in self._below.pop(b, {}).items():
            same = self._below.setdefault(a, {}).setdefault(ratio, below)
            self.unite(same, below)
        self._break_cycle(self.find(a))

    def _sources(self, root: int) -> list[int]:
        """The classes that a class is directly derived from."""
        if root in self._scaled:
            return [self.find(self._scaled[root].base)]
        return [self.find(axis) for dim in self._sums.get(root, ()) for axis in dim.axes]

    def _break_cycle(self, root: int) -> None:
        """If a class is now derived from itself, pin it instead."""
        pending, seen = self._sources(root), set[int]()
        while pending:
            source = pending.pop()
            if source == root:
                self._scaled.pop(root, None)
                self._sums.pop(root, None)
                self.pin(root, "two resolutions must keep their ratio")
                return
            if source not in seen:
                seen.add(source)
                pending += self._sources(source)

    def _merge_derivations(self, a: int, b: int) -> None:
        """Decide what class `a` is derived from, once `b` is united with it."""
        free = [c in self._free for c in (a, b)]
        scaled = [self._scaled.pop(c, None) for c in (a, b)]
        sums = [self._sums.pop(c, None) for c in (a, b)]
        self._free -= {a, b}
        if all(free):
            self._free.add(a)
        independent = not all(f or s or p for f, s, p in zip(free, scaled, sums, strict=True))  # one of the two is
        one, two = scaled
        if one and two and one.ratio == two.ratio:
            self._scaled[a] = one
            if one.up != two.up:
                self.require_multiple(one.base, one.ratio.denominator)
            self.unite(one.base, two.base)
        elif one and two:
            if self.find(one.base) in self._free:
                one, two = two, one
            self._scaled[a] = one
            if self.find(two.base) in self._free:
                self._free.remove(self.find(two.base))
                self._follow(self.find(two.base), _Scaled(one.base, one.ratio / two.ratio))
            elif self.find(one.base) == self.find(two.base):  # say, both a half and a third of one size
                self.pin(a, "two resolutions must keep their ratio")
            else:
                self._ratios.append((one.base, two.base, one.ratio / two.ratio))
        elif (one or two) and not any(sums):
            self._follow(a, one or two)  # type: ignore[arg-type]
        if any(sums) and not independent and not any(scaled):
            self._sums[a] = sums[0] or sums[1] or ()
        elif any(sums):
            for c in (a, *(axis for dims in sums for dim in dims or () for axis in dim.axes)):
                self.pin(c, "a resolution must be the sum of others")
        if sums[0] and sums[1]:
            if [_factors(p) for p in sums[0]] == [_factors(q) for q in sums[1]]:
                for p, q in zip(sums[0], sums[1], strict=True):
                    for x, y in zip(p.axes, q.axes, strict=True):
                        self.unite(x, y)
            else:
                for c in (axis for part in (*sums[0], *sums[1]) for axis in part.axes):
                    self.pin(c, "two different sums of resolutions must agree")

    def _follow(self, axis: int, above: _Scaled) -> None:
        """Derive class `axis` from `above`; if the base of that is free, derive the base from `axis` instead."""
        base = self.find(above.base)
        if base in self._free and base != axis:
            self._free.remove(base)
            self._scaled[base] = _Scaled(axis, 1 / above.ratio)
            self._below.setdefault(axis, {}).setdefault(1 / above.ratio, base)
            self.require_multiple(axis, above.ratio.numerator)
            return
        self._scaled[axis] = above
        self._break_cycle(axis)

    def scaled(self, axis: int, ratio: Fraction, size: int, *, up: bool = False) -> int:
        """The class of `ratio` times `axis`, `size` pixels at tracing, rounded down, or up if the model pads."""
        base, above = self.base(axis)
        ratio *= above
        if ratio == 1:
            return base
        below = self._below.setdefault(base, {})
        if ratio not in below:
            below[ratio] = self.new(size)
            self._scaled[below[ratio]] = _Scaled(base, ratio, up)
        elif self._scaled.get(self.find(below[ratio]), _Scaled(base, ratio, up)).up != up:
            self.require_multiple(base, ratio.denominator)  # both roundings must give the same size
        return self.find(below[ratio])

    def sum(self, parts: Sequence[Dim]) -> int:
        """The class of the sum of several dimensions."""
        axes = {self.find(p.axis) if p.axis is not None else None for p in parts}
        if len(axes) == 1 and None not in axes and len({p.size for p in parts}) == 1 and len(parts) > 1:
            return self.scaled(axes.pop() or 0, Fraction(len(parts)), sum(p.size for p in parts))
        axis = self.new(sum(p.size for p in parts))
        self._sums[axis] = tuple(self._summands(parts))
        return axis

    def _summands(self, parts: Sequence[Dim]) -> Iterator[Dim]:
        """The parts of a sum, with nested sums flattened and adjacent numbers added up."""
        flat = [q for p in parts for q in ((self.parts(p.axis) if p.axis is not None else ()) or (p,))]
        for varies, run in itertools.groupby(flat, key=lambda p: bool(p.axes)):
            if varies:
                yield from run
            else:
                yield from constant_dims([sum(p.size for p in run)])

    def parts(self, axis: int) -> tuple[Dim, ...]:
        """The dimensions whose sum the class is; empty if it is not a sum."""
        return self._sums.get(self.find(axis), ())

    def base(self, axis: int) -> tuple[int, Fraction]:
        """The class that `axis` is a multiple of, and the ratio; its own class and 1 if it is not a multiple."""
        root, ratio = self.find(axis), Fraction(1)
        while root in self._scaled:
            ratio *= self._scaled[root].ratio
            root = self.find(self._scaled[root].base)
        return root, ratio

    def ratios(self) -> tuple[tuple[int, int, Fraction], ...]:
        """Triples (a, b, ratio) of classes from separate resizes for which the model needs b = ratio * a."""
        ends = ((self.base(a), self.base(b), ratio) for a, b, ratio in self._ratios)
        found = ((a, b, ratio * of_a / of_b) for (a, of_a), (b, of_b), ratio in ends)
        return tuple((a, b, ratio) for a, b, ratio in found if a != b or ratio != 1)  # within one class it always holds

    def is_free(self, axis: int) -> bool:
        """Whether only the model's code determines the size."""
        return self.find(axis) in self._free

    def pin(self, axis: int, why: str) -> None:
        root = self.find(axis)
        if root in self._pins:
            return
        self._pins[root] = why
        if root in self._scaled:
            self.pin(self._scaled[root].base, why)
        for dim in self._sums.get(root, ()):
            for part in dim.axes:
                self.pin(part, why)

    def pinned(self, axis: int) -> str | None:
        """Why the class must keep its size, or None."""
        return self._pins.get(self.find(axis))

    def require_multiple(self, axis: int, multiple: int) -> None:
        """Require the size of `axis` to be a multiple of a number of pixels."""
        if multiple == 1:  # always holds, whatever the base, as sizes are rounded
            return
        root, ratio = self.base(axis)
        need = (Fraction(multiple) / ratio).numerator
        self._multiple[root] = math.lcm(self._multiple.get(root, 1), need)

    def multiple(self, axis: int) -> int:
        """The number of pixels that the size of the class must be a multiple of."""
        return self._multiple.get(self.find(axis), 1)

    def reference(self, axis: int) -> int:
        """Size of the class at tracing, in pixels."""
        return self._size[self.find(axis)]

    def size(self, axis: int, sizes: dict[int, Extent]) -> Extent | None:
        """Size of a class from `sizes` of others, keyed by `find`; None if they do not determine it.

        Sizes computed on the way are added to `sizes`. Arrays are computed elementwise.
        """
        root = self.find(axis)
        if root not in sizes:
            if root in self._scaled:
                above = self.size(self._scaled[root].base, sizes)
                if above is not None:
                    sizes[root] = self._scaled[root].size(above)
            elif root in self._sums:
                parts = [p for dim in self._sums[root] if (p := self._dim_size(dim, sizes)) is not None]
                if len(parts) == len(self._sums[root]):
                    sizes[root] = sum(parts[1:], start=parts[0])
        return sizes.get(root)

    def extent(self, axis: int | None, traced: int, sizes: dict[int, Extent]) -> Extent:
        """Size of a dimension that had `traced` pixels at tracing, from `sizes` of classes, with the same offset.

        It is `traced` if the dimension has no class, or `sizes` do not determine that.
        """
        unchanged: Any = traced
        known = None if axis is None else self.size(axis, sizes)
        return unchanged if axis is None or known is None else known + (traced - self.reference(axis))

    def _dim_size(self, dim: Dim, sizes: dict[int, Extent]) -> Extent | None:
        factors: list[Any] = []
        for atom in dim.atoms:
            known = None if atom.axis is None else self.size(atom.axis, sizes)
            if atom.axis is None:
                factors.append(atom.size)
            elif known is None:
                return None
            else:
                factors.append(known + (atom.size - self.reference(atom.axis)))
        return math.prod(factors)

    def without_sums(self) -> AxisClasses:
        """The same classes, but sums are not derived from their parts."""
        return replace(self, _sums={})

    def derived(self) -> Iterator[int]:
        """The classes that are derived from others."""
        yield from self._scaled
        yield from self._sums


_LEARNED = frozenset({"dynopool1d", "dynopool2d", "dynopool3d", "resizer"})


@dataclass(frozen=True)
class Resize:
    """An operation after which a spatial axis may have another size: a strided or learned layer.

    All fields have one entry for each axis. `kernel`, `stride`, `padding` and `dilation` are pixels of the input;
    `source` and `target` are axis classes (None where the axis carries no resolution). `kind` is the operation's name.
    """

    node: int
    kind: str
    path: str
    call: int
    source: OptionalAxes
    target: OptionalAxes
    in_size: Size
    out_size: Size
    kernel: Size = ()  # those that are not given are 1, and 0 for the padding
    stride: Size = ()
    padding: Size = ()
    dilation: Size = ()
    ceil_mode: bool = False
    scale: PerAxis | None = None  # of an upsampling: output pixels per input pixel
    fixed: bool = False  # the output size is a constant
    given: bool = False  # the model's code computes the output size and passes it

    def __post_init__(self) -> None:
        for name, usual in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, getattr(self, name) or (usual,) * len(self.in_size))

    @property
    def axes(self) -> int:
        """The number of spatial axes."""
        return len(self.in_size)

    @property
    def learned(self) -> bool:
        """Whether a resizer of this library ran: a `LearnedResizer` or one that follows it."""
        return self.kind in _LEARNED

    def output(self, size: Size) -> Size:
        """Output size in pixels for another input size, by the operation's own arithmetic."""
        if self.fixed or self.given or size == self.in_size:
            return self.out_size
        if self.scale is not None:
            axes = zip(size, self.in_size, self.out_size, self.scale, strict=True)
            # the difference keeps the pixels that a transposed convolution adds
            return tuple(o + math.floor(n * s) - math.floor(i * s) for n, i, o, s in axes)
        windows = zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(window_output_size(*window, ceil_mode=self.ceil_mode) for window in windows)


def input_dims(
    classes: AxisClasses, shape: Sequence[int], others: Sequence[int] | None = None, *, ndim: int = 2
) -> tuple[Dim, ...]:
    """Dimensions of an image batch; its last `ndim`, height and width of images, open the first classes.

    `others` is the shape of the batch in the second pass, if there is one.
    """
    in_other: list[int | None] = [None] * ndim if others is None else list(others[-ndim:])
    spatial = tuple(
        Dim((Atom(n, classes.new(n), m),)) if n != 1 else Dim() for n, m in zip(shape[-ndim:], in_other, strict=True)
    )
    return constant_dims(shape[:-ndim], shape[:-ndim]) + spatial


@dataclass
class Axes:
    """The axes of a recorded pass.

    `dims` has the dimensions of its values, by their ids. `resizes` are the operations after which a spatial axis may
    have another size, in order of execution; `of_other_axes` those that run along other axes than the input's, which
    carry no resolution; `not_understood` counts the operations on spatial axes that have no rule. `unmatched` counts
    operations on maps without a counterpart in the second pass; `collapsed` says whether a map has a single pixel here
    but more for a larger input.
    """

    dims: list[tuple[Dim, ...]]
    classes: AxisClasses = field(default_factory=AxisClasses)
    resizes: list[Resize] = field(default_factory=list)
    of_other_axes: list[Resize] = field(default_factory=list)
    not_understood: dict[str, int] = field(default_factory=dict)
    unmatched: int = 0
    collapsed: bool = False
