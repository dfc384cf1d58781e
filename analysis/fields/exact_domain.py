"""Pixel-exact fields: the first and last pixel of the image that each position of a tensor really sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, take, varies
from .positions import Field, Taps, Term

__all__ = ["ExactDomain"]

Interval = tuple[Array, Array]


class ExactDomain:
    """The domain of exact regions. The two arrays of a term are the first and the last pixel seen along an axis.

    Padding does not count: positions that see only padding have (inf, -inf). Strides need not be uniform; a region is
    the hull of all pixels that the operations read.
    """

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim

    def start(self, shape: Sequence[int]) -> Field:
        axes = []
        for dim in range(len(shape) - self.ndim, len(shape)):
            at = np.arange(shape[dim], dtype=np.float64).reshape([-1 if i == dim else 1 for i in range(len(shape))])
            axes.append((at, at))
        return Field((Term(tuple(axes), (None,) * self.ndim),))

    def global_field(self, terms: Sequence[Term], rank: int) -> Field:
        """A global field: every position of a tensor of the given rank sees everything that any position saw."""
        mixed = [self.mix(t, range(_rank(t))) for t in terms]
        return self.join([t.map(lambda a: a.reshape((1,) * rank), lambda dim: None) for t in mixed])

    def window(self, terms: Sequence[Term], taps: Mapping[int, Taps], layer: object = None) -> Field:
        """Fields after windows slide along the dimensions in `taps`."""
        for dim, tap in taps.items():
            terms = [self.gather(t, dim, tap.reads()) for t in terms]
        return self.join(terms)

    def gather(self, term: Term, dim: int, index: NDArray[np.intp]) -> Term:
        """The term whose position i combines the positions in row i of `index` (outputs, reads); -1 means none."""
        nothing = ~(index >= 0).any(axis=1)
        axes = []
        for low, high in _intervals(term):
            if not varies(low, dim) and not varies(high, dim) and not nothing.any():
                axes.append((low, high))
                continue
            first: Array = np.full((1,) * low.ndim, np.inf)
            last: Array = np.full((1,) * low.ndim, -np.inf)
            for column in index.T:
                outside = (column < 0).reshape([-1 if i == dim else 1 for i in range(low.ndim)])
                at = np.maximum(column, 0)
                first = np.minimum(first, np.where(outside, np.inf, take(low, dim, at)))
                last = np.maximum(last, np.where(outside, -np.inf, take(high, dim, at)))
            axes.append((first, last))
        return replace(term, axes=tuple(axes))

    def mix(self, term: Term, dims: Sequence[int]) -> Term:
        """The term after all positions along the dimensions are combined into one; the dimensions stay, with size 1."""
        over = tuple(dims)
        axes = [(a.min(axis=over, keepdims=True), b.max(axis=over, keepdims=True)) for a, b in _intervals(term)]
        return replace(term, axes=tuple(axes))

    def settle(self, term: Term, before: Term) -> Term | None:
        """The term, or None if none of its positions sees anything."""
        return term if all(bool((low <= high).any()) for low, high in _intervals(term)) else None

    def pad(self, term: Term, dim: int, size: int, before: int, after: int) -> Term:
        """The term with positions that see nothing added at both ends of a dimension of `size`."""
        index = np.concatenate([np.full(before, -1), np.arange(size), np.full(after, -1)])
        return self.gather(term, dim, index[:, None])

    def place(self, term: Term, dim: int, index: NDArray[np.intp], *, runs: bool) -> Term:
        """The term of the positions `index`; -1 means none."""
        return self.gather(term, dim, index[:, None])

    def beside(self, terms: Sequence[Term], dim: int) -> list[Term]:
        """The terms, unchanged."""
        return list(terms)

    def repeat(self, term: Term, dim: int, before: int, after: int, index: NDArray[np.intp]) -> Term:
        """The term padded with its own positions `index`."""
        return self.gather(term, dim, index[:, None])

    def accumulate(self, term: Term, dim: int) -> Term:
        """The term whose positions see all earlier positions along a dimension."""
        pairs = [(np.minimum.accumulate(a, dim), np.maximum.accumulate(b, dim)) for a, b in _intervals(term)]
        return replace(term, axes=tuple(pairs))

    def join(self, terms: Sequence[Term]) -> Field:
        """The union of several fields; terms that vary along the same dimensions are merged."""
        joined: list[Term] = []
        for term in terms:
            for i, other in enumerate(joined):
                if other is term:
                    break
                if _comparable(term, other):
                    joined[i] = _hull(term, other)
                    break
            else:
                joined.append(term)
        return Field(tuple(joined))

    def cat(self, fields: Sequence[Field | None], dim: int, sizes: Sequence[int]) -> Field:
        """The field of a concatenation along a dimension."""
        held = [f for f in fields if f is not None]
        rank = max(_rank(t) for f in held for t in f.terms)
        terms: list[Term] = []
        for field, start, size in zip(fields, np.cumsum([0, *sizes]), sizes, strict=False):
            for term in field.terms if field is not None else ():
                terms.append(self.pad(term.of_rank(rank), dim, size, int(start), sum(sizes) - size - int(start)))
        return self.join(terms)

    def whole(self, field: Field) -> Field:
        return field


def _intervals(term: Term) -> list[Interval]:
    return [(arrays[0], arrays[1]) for arrays in term.axes if arrays is not None]


def _shape(interval: Interval) -> tuple[int, ...]:
    return np.broadcast_shapes(interval[0].shape, interval[1].shape)


def _rank(term: Term) -> int:
    return _intervals(term)[0][0].ndim


def _comparable(a: Term, b: Term) -> bool:
    """Whether one of the terms varies along all dimensions the other varies along."""
    pairs = [
        (m, n)
        for x, y in zip(_intervals(a), _intervals(b), strict=True)
        for m, n in zip(x[0].shape, y[0].shape, strict=True)
    ]
    return all(m == n or n == 1 for m, n in pairs) or all(m == n or m == 1 for m, n in pairs)


def _hull(a: Term, b: Term) -> Term:
    pairs = zip(_intervals(a), _intervals(b), strict=True)
    return replace(a, axes=tuple((np.minimum(p[0], q[0]), np.maximum(p[1], q[1])) for p, q in pairs))
