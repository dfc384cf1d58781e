"""Rules of operations that only rearrange, crop or join: views, slices, padding, concatenation."""

from __future__ import annotations

import math
from fractions import Fraction

from dynpool.graph import primitives as kinds
from dynpool.graph.dims import Atom, Dim, constant_dims

from .context import Context, Dims

__all__ = ["broadcast", "concatenate", "pad", "permute", "repeat", "slice_", "take", "unfold", "view"]

TwoSizes = tuple[int, int | None]  # at tracing, and in the second trace


def _fits(whole: TwoSizes, part: TwoSizes) -> bool:
    """Whether `part` divides `whole` in both traces, as far as known."""
    return part[0] > 0 and whole[0] % part[0] == 0 and (whole[1] is None or part[1] is None or whole[1] % part[1] == 0)


def _rest(whole: TwoSizes, part: TwoSizes) -> TwoSizes:
    return whole[0] // part[0], None if whole[1] is None or part[1] is None else whole[1] // part[1]


def _atoms(c: Context, dim: Dim) -> list[Atom]:
    """The atoms of a dimension; a class that stands for a product is expanded."""
    parts = c.classes.parts(dim.axis) if dim.axis is not None else ()
    return list(parts[0].atoms if len(parts) == 1 else dim.atoms)


def view(c: Context, p: kinds.View) -> Dims:
    own = c.dims(p.x)
    if math.prod(p.x.shape) != math.prod(c.out.shape):  # pairs of real numbers seen as complex ones, or the reverse
        return (*own, c.unrelated(-1)) if len(own) < len(c.out.shape) else own[:-1]
    stack = [a for d in own for a in _atoms(c, d)][::-1]
    dims: list[Dim] = []
    for i, n in enumerate(c.out.shape):
        taken: list[Atom] = []
        left: TwoSizes = (n, c.other(i))
        while left[0] > 1 or left[1] not in (None, 1):
            atom = stack.pop() if stack else Atom(1, None, 1)
            here: TwoSizes = (atom.size, atom.other)
            if here not in ((1, 1), (1, None)) and _fits(left, here):
                taken.append(atom)
                left = _rest(left, here)
            elif stack and here == (1, 1):
                continue
            elif atom.size > 1 and _fits(here, left):
                outer, inner = c.cut(atom, left, _rest(here, left))
                taken.append(outer)
                stack.append(inner)
                left = (1, 1)
            else:
                c.pin((Dim((*taken, atom, *stack)),), "a view cuts across it")
                return c.all_unrelated()
        dims.append(c.rejoined(Dim(tuple(taken))))
    return tuple(dims)


def broadcast(c: Context, p: kinds.Broadcast) -> Dims:
    own, shape = c.dims(p.x), c.out.shape
    old = (Dim(),) * (len(shape) - len(own)) + own
    return tuple(
        d if d.size == n and c.other(i) in (None, d.other) else c.unrelated(i)
        for i, (d, n) in enumerate(zip(old, shape, strict=True))
    )


def permute(c: Context, p: kinds.Permute) -> Dims:
    dims = c.dims(p.x)
    return tuple([Dim() if i is None else dims[i] for i in p.order])


def take(c: Context, p: kinds.Take) -> Dims:
    return c.dims(p.x)


def repeat(c: Context, p: kinds.Repeat) -> Dims:
    own = c.dims(p.x)
    old = (Dim(),) * (len(p.times) - len(own)) + own
    dims: list[Dim] = []
    for i, (dim, k) in enumerate(zip(old, p.times, strict=True)):
        dims.append(dim if k == 1 else Dim((Atom(k, None, k), *dim.atoms)) if dim.axes else c.unrelated(i))
    return tuple(dims)


def slice_(c: Context, p: kinds.Slice) -> list[Dims]:
    """Rule of slices: a part of a dimension is its class plus an offset, every n-th entry a class of its own."""
    whole = c.dims(p.x)
    before, dim, after = whole[: p.dim], whole[p.dim], whole[p.dim + 1 :]
    if p.drop:
        if len(p.ranges) > 1:
            c.pin((dim,), "taken apart position by position")
        elif p.ranges[0].start not in (0, p.x.shape[p.dim] - 1):  # the first and the last are there at every size
            c.pin((dim,), "one position is selected")
        return [(*before, *after)] * len(p.ranges)
    return [(*before, _part(c, dim, p, k), *after) for k in range(len(p.ranges))]


def _part(c: Context, dim: Dim, p: kinds.Slice, output: int) -> Dim:
    kept, other = p.ranges[output], c.other(p.dim, output)
    size, step = len(kept), kept.step
    if step == 1:
        alone = len(p.ranges) == 1
        return c.section(dim, kept.start, size, other) if dim.axes or alone else c.unrelated(p.dim, output)
    dim = c.single(dim)
    if dim.axis is None or size == 1:
        c.pin((dim,), "cut to a fixed size")
        return c.unrelated(p.dim)
    up = size * step >= dim.size
    if kept[-1] + step >= dim.size:  # to the end: all entries from 0 on are n/step rounded up, from step - 1 on down
        if 0 < kept.start < step - 1:
            c.classes.require_multiple(dim.axis, step)
        up = kept.start == 0
    axis = c.classes.scaled(dim.axis, Fraction(1, step), size, up=up)
    return Dim((Atom(size, axis, other),))


def pad(c: Context, p: kinds.Pad) -> Dims:
    dims = list(c.dims(p.x))
    for i, (dim, n, (low, high)) in enumerate(zip(c.dims(p.x), c.out.shape, p.around, strict=True)):
        other = c.other(i)
        if dim.size == n and other in (None, dim.other):
            continue
        one = c.single(dim)
        if one.axis is not None:
            dims[i] = Dim((Atom(n, one.axis, other),))
        elif dim.axes and min(low, high) >= 0 and other is not None and other - n == (dim.other or 0) - dim.size:
            parts = [*constant_dims((low,) * (low > 0)), dim, *constant_dims((high,) * (high > 0))]
            dims[i] = Dim((Atom(n, c.classes.sum(parts), other),))  # tokens of a map, and some beside it
        else:
            dims[i] = c.unrelated(i)
            if not dims[i].axes:
                c.pin((dim,), "padded to a fixed size")
    return tuple(dims)


def concatenate(c: Context, p: kinds.Concatenate) -> Dims:
    joined = "stacked" if p.new else "concatenated"
    dims = list(c.dims(p.parts[0]))
    for part in p.parts[1:]:
        for i, dim in enumerate(c.dims(part)):
            if (p.new or i != p.dim) and dim.atoms:
                dims[i] = c.unify(dims[i], dim, f"{joined} with a {part.origin} of that size")
    if p.new:
        dims.insert(p.dim, c.unrelated(p.dim))
    elif len(p.parts) > 1:
        along = [c.dims(part)[p.dim] for part in p.parts]
        varies = any(d.axes for d in along)
        whole = Atom(c.out.shape[p.dim], c.classes.sum(along), c.other(p.dim)) if varies else None
        dims[p.dim] = c.unrelated(p.dim) if whole is None else Dim((whole,))
    return tuple(dims)


def unfold(c: Context, p: kinds.Unfold) -> Dims:
    """Unfolds a dimension: the number of windows depends on its size, their pixels are a new last dimension."""
    at = p.dim
    dims = list(c.dims(p.x))
    whole, n = c.single(dims[at]), c.out.shape[at]
    if whole.axis is None or n == 1 or c.other(at) in (None, n):
        dims[at] = c.unrelated(at)
    else:
        up = n * p.step > c.classes.reference(whole.axis)
        axis = c.classes.scaled(whole.axis, Fraction(1, p.step), n, up=up)
        dims[at] = Dim((Atom(n, axis, c.other(at)),))
    return (*dims, c.unrelated(-1))
