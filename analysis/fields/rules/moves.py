"""Rules of the primitives that move positions: views, permutations, slices, padding, concatenation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynpool.graph import Value
from dynpool.graph import primitives as kinds
from dynpool.size_math import window_output_size

from ..positions import Field, Term
from ..propagate import Call

__all__ = [
    "broadcast",
    "concatenate",
    "diagonal",
    "fold",
    "pad",
    "patches",
    "permute",
    "picked",
    "regroup",
    "repeat",
    "slice_",
    "take",
    "unfold",
    "view",
]

Index = NDArray[np.intp]
Array = NDArray[np.float64]


def view(c: Call, p: kinds.View) -> Field | None:
    old, new = p.x.shape, c.out_shape
    field = c.field(p.x)
    return field if field is None or old == new else c.each(p.x, lambda t: t.viewed(old, new))


def permute(c: Call, p: kinds.Permute) -> Field | None:
    field = c.field(p.x)
    if field is not None and field.parts is not None and None not in p.order and len(p.order) == len(p.x.shape):
        dim, parts = field.parts
        wholes = [(n, None if part is None else c.domain.whole(part)) for n, part in parts]
        moved = [(n, None if part is None else part.map(lambda t: t.permuted(p.order))) for n, part in wholes]
        return Field(tuple(t.permuted(p.order) for t in field.terms), (p.order.index(dim), tuple(moved)))
    return c.each(p.x, lambda t: t.permuted(p.order))


def broadcast(c: Call, p: kinds.Broadcast) -> Field:
    return c.each(p.x, lambda t: t.of_rank(len(c.out_shape)))


def regroup(c: Call, p: kinds.Regroup) -> Field:
    moved = tuple([p.split[i] for i in p.order])
    return c.each(p.x, lambda t: t.viewed(p.x.shape, p.split).permuted(p.order).viewed(moved, c.out_shape))


# --- some of the positions --------------------------------------------------------------------------------------------


def picked(c: Call, x: Value, dim: int, index: Index) -> Field | None:
    """The field of the entries `index` along a dimension; for a field in parts, of the parts that contain them."""
    field = c.field(x)
    if field is None or not len(index):
        return None
    if field.parts is not None and field.parts[0] == dim:
        found, start = [], 0
        for size, part in field.parts[1]:
            inside = index[(index >= start) & (index < start + size)] - start
            if len(inside):
                found.append((len(inside), part))
            start += size
        if bool((np.diff(index) > 0).all()):
            held = [part for _, part in found if part is not None]
            if len(found) == 1:
                return held[0] if held else None
            return c.domain.cat([p for _, p in found], dim, [n for n, _ in found]) if held else None
    whole = c.domain.whole(field)
    if not any(t.along(dim) for t in whole.terms):
        return field if field.parts is None or field.parts[0] != dim else whole
    return c.moved(x, lambda t: t.taken(dim, index))


def slice_(c: Call, p: kinds.Slice) -> list[Field | None]:
    return [_part(c, p, kept) for kept in p.ranges]


def _part(c: Call, p: kinds.Slice, kept: range) -> Field | None:
    if len(kept) == p.x.shape[p.dim] and not p.drop:
        return c.field(p.x)
    field = picked(c, p.x, p.dim, np.arange(kept.start, kept.stop, kept.step))
    return field if field is None or not p.drop else c.domain.whole(field).map(lambda t: t.without([p.dim]))


def take(c: Call, p: kinds.Take) -> Field | None:
    shape = p.x.shape
    flat = (math.prod(shape),)

    def move(term: Term) -> Term:
        for dim, index in p.indices.items():
            if dim is None:
                term = term.viewed(shape, flat).taken(0, index).viewed(flat, shape)
            else:
                term = term.taken(dim, index)
        return term

    return c.moved(p.x, move)


def diagonal(c: Call, p: kinds.Diagonal) -> Field | None:
    n = c.out_shape[-1]
    rows, columns = np.arange(n) + max(-p.offset, 0), np.arange(n) + max(p.offset, 0)
    order = [i for i in range(len(p.x.shape)) if i not in p.dims] + list(p.dims)

    def pick(array: Array) -> Array:
        array = array.transpose(order)
        i = rows if array.shape[-2] > 1 else rows * 0
        j = columns if array.shape[-1] > 1 else columns * 0
        found = array[..., i, j]
        return found if array.shape[-2] > 1 or array.shape[-1] > 1 else found[..., :1]

    return c.moved(p.x, lambda term: replace(term.map(pick), collapsed_dims=(None,) * len(term.collapsed_dims)))


def unfold(c: Call, p: kinds.Unfold) -> Field | None:
    n, dim = c.out_shape[p.dim], p.dim
    index = (np.arange(n)[:, None] * p.step + np.arange(p.size)[None, :]).ravel()
    rolled, apart = [*p.x.shape], [*p.x.shape]
    rolled[dim : dim + 1], apart[dim : dim + 1] = [n * p.size], [n, p.size]
    order = [i for i in range(len(apart)) if i != dim + 1] + [dim + 1]
    return c.moved(p.x, lambda t: t.taken(dim, index).viewed(rolled, apart).permuted(order))


# --- more positions ---------------------------------------------------------------------------------------------------


def pad(c: Call, p: kinds.Pad) -> Field | None:
    move = _padded if p.mode == "constant" else _mirrored

    def padded(term: Term) -> Term:
        for dim in reversed(range(len(p.around))):
            if p.around[dim] != (0, 0):
                term = move(c, p, term, dim)
        return term

    return c.moved(p.x, padded)


def _padded(c: Call, p: kinds.Pad, term: Term, dim: int) -> Term:
    before, after = p.around[dim]
    size = p.x.shape[dim]
    kept = np.arange(max(0, -before), size - max(0, -after))
    if len(kept) < size:
        term = term.taken(dim, kept)
    if before > 0 or after > 0:
        term = c.domain.pad(term, dim, len(kept), max(before, 0), max(after, 0))
    return term


def _mirrored(c: Call, p: kinds.Pad, term: Term, dim: int) -> Term:
    """Padding that repeats inner positions; in the recurrence it continues the map, as zero padding does."""
    index = np.pad(np.arange(p.x.shape[dim]), p.around[dim], mode=p.mode)  # type: ignore[call-overload]
    return c.domain.repeat(term, dim, *p.around[dim], index)


def concatenate(c: Call, p: kinds.Concatenate) -> Field:
    if not p.new:
        return c.domain.cat([c.field(part) for part in p.parts], p.dim, [part.shape[p.dim] for part in p.parts])
    fields = [None if c.field(part) is None else c.each(part, lambda t: t.unsqueezed(p.dim)) for part in p.parts]
    return c.domain.cat(fields, p.dim, [1] * len(fields))


def repeat(c: Call, p: kinds.Repeat) -> Field | None:
    rank = len(p.times)
    shape = (1,) * (rank - len(p.x.shape)) + p.x.shape

    def move(term: Term) -> Term:
        term = term.of_rank(rank)
        for dim, n in enumerate(p.times):
            if n > 1:
                term = term.taken(dim, np.tile(np.arange(shape[dim]), n))
        return term

    return c.moved(p.x, move)


# --- windows side by side ---------------------------------------------------------------------------------------------


def patches(c: Call, p: kinds.Patches) -> Field | None:
    n, channels, *sizes = p.x.shape
    kernel, outputs = p.kernel, _counts(p, sizes)

    def move(term: Term) -> Term:
        for dim, axis in ((2, 0), (3, 1)):
            around = p.padding[axis]
            padded = c.domain.pad(term, dim, sizes[axis], around, around) if around else term
            starts, reads = np.arange(outputs[axis]) * p.stride[axis], np.arange(kernel[axis]) * p.dilation[axis]
            term = padded.taken(dim, (reads[:, None] + starts[None, :]).ravel())
        rolled = (n, channels, kernel[0] * outputs[0], kernel[1] * outputs[1])
        apart = (n, channels, kernel[0], outputs[0], kernel[1], outputs[1])
        split = (n, channels, *kernel, *outputs)
        return term.viewed(rolled, apart).permuted((0, 1, 2, 4, 3, 5)).viewed(split, c.out_shape)

    return c.moved(p.x, move) or c.everything()


def fold(c: Call, p: kinds.Fold) -> Field:
    """Each position sums all windows that cover it."""
    n, channels, *sizes = c.out_shape
    kernel, outputs = p.kernel, _counts(p, sizes)
    split = (n, channels, *kernel, *outputs)
    rolled = (n, channels, kernel[0] * outputs[0], kernel[1] * outputs[1])

    def move(term: Term) -> Term:
        term = term.viewed(p.x.shape, split).permuted((0, 1, 2, 4, 3, 5))
        term = term.viewed(tuple(split[i] for i in (0, 1, 2, 4, 3, 5)), rolled)
        for dim, axis in ((2, 0), (3, 1)):
            reads: list[list[int]] = [[] for _ in range(sizes[axis])]
            for k in range(kernel[axis]):
                for q in range(outputs[axis]):
                    at = q * p.stride[axis] - p.padding[axis] + k * p.dilation[axis]
                    if 0 <= at < sizes[axis]:
                        reads[at].append(k * outputs[axis] + q)
            width = max(map(len, reads))
            term = c.domain.gather(term, dim, np.asarray([r + [-1] * (width - len(r)) for r in reads]))
        return term

    return c.each(p.x, move)


def _counts(p: kinds.Patches | kinds.Fold, sizes: list[int]) -> tuple[int, ...]:
    """The number of windows along each axis."""
    return tuple(map(window_output_size, sizes, p.kernel, p.stride, p.padding, p.dilation))
