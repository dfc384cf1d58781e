"""The image positions that each position of a tensor sees: one term per kind of path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, blocks, constant, reshape, take, varies
from .steps import Resized, Window

__all__ = ["Field", "Taps", "Term", "comparable", "extent", "shared_dim"]

Arrays = tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Term:
    """The image positions that the positions of a tensor see, as one or more arrays per axis of the image.

    The domain (`analysis.fields.propagate.Domain`) defines the meaning of the arrays. An axis without arrays is global.

    Attributes:
        axes: the arrays per axis of the image, all of the tensor's rank and broadcastable to its shape.
        collapsed_dims: per axis the dimension along which it ran before that collapsed to one position; None if it
            varies.
        slot: its slot in the field program.
    """

    axes: tuple[Arrays | None, ...]
    collapsed_dims: tuple[int | None, ...]
    slot: int = 0

    def map(self, move: Callable[[Array], Array], new_dim: Callable[[int], int | None] = lambda dim: dim) -> Term:
        """The term after its positions are moved; `new_dim` maps dimensions of size 1."""
        moved: dict[int, Array] = {}

        def once(array: Array) -> Array:
            if id(array) not in moved:
                moved[id(array)] = move(array)
            return moved[id(array)]

        axes = tuple(None if arrays is None else tuple(map(once, arrays)) for arrays in self.axes)
        collapsed = tuple(None if dim is None else new_dim(dim) for dim in self.collapsed_dims)
        return replace(self, axes=axes, collapsed_dims=collapsed)

    def along(self, dim: int) -> bool:
        """Whether an axis of the image varies along the dimension."""
        return any(arrays is not None and any(a.shape[dim] > 1 for a in arrays) for arrays in self.axes)

    def of_rank(self, rank: int) -> Term:
        """The term of the tensor with leading dimensions of size 1 added."""
        extra = rank - next((a[0].ndim for a in self.axes if a is not None), rank)
        if not extra:
            return self
        return self.map(lambda a: a.reshape((1,) * extra + a.shape), lambda dim: dim + extra)

    def viewed(self, old: Sequence[int], new: Sequence[int]) -> Term:
        """The term after a view of shape `old` as shape `new`.

        A view may remove the dimension that an axis has collapsed to, as before a linear layer over a map of one pixel;
        a later view that inserts such dimensions restores them, the last ones first: batches come first.
        """
        ones = [
            ([i for i in before if old[i] == 1], [j for j in after if new[j] == 1])
            for before, after in blocks(old, new)
        ]
        moved = {i: j for before, after in ones for i, j in zip(before, after, strict=False)}
        term = self.map(lambda a: reshape(a, old, new), moved.get)
        added = [j for before, after in ones for j in after[len(before) :]]
        own = zip(self.axes, self.collapsed_dims, strict=True)
        away = [i for i, (arrays, dim) in enumerate(own) if dim is None and arrays and constant(arrays[0])]
        if not away or len(away) > len(added):
            return term
        back = dict(zip(away, added[-len(away) :], strict=True))
        return replace(term, collapsed_dims=tuple(back.get(i, h) for i, h in enumerate(term.collapsed_dims)))

    def permuted(self, order: Sequence[int | None]) -> Term:
        """The term whose dimension i is `order[i]` of this one, or a new one of size 1 for None; others are dropped."""
        kept = [dim for dim in order if dim is not None]

        def move(a: Array) -> Array:
            a = a.transpose([*kept, *(dim for dim in range(a.ndim) if dim not in kept)])
            return a.reshape([1 if dim is None else a.shape[kept.index(dim)] for dim in order])

        return self.map(move, lambda dim: list(order).index(dim) if dim in kept else None)

    def unsqueezed(self, at: int) -> Term:
        """The term after inserting a dimension of size 1 at the given position."""
        return self.map(lambda a: np.expand_dims(a, at), lambda dim: dim + (dim >= at))

    def without(self, dims: Sequence[int]) -> Term:
        """The term after removing dimensions of size 1."""
        gone = set(dims)

        def new_dim(dim: int) -> int | None:
            return None if dim in gone else dim - sum(g < dim for g in gone)

        return self.map(lambda a: a.reshape([n for i, n in enumerate(a.shape) if i not in gone]), new_dim)

    def taken(self, dim: int, index: NDArray[np.intp]) -> Term:
        """The term of the entries `index` along a dimension."""
        moved = self.map(lambda a: take(a, dim, index))
        if len(index) > 1:
            return moved
        collapsed = tuple(
            dim if old is not None and any(a.shape[dim] > 1 for a in old) and all(map(constant, new or ())) else h
            for old, new, h in zip(self.axes, moved.axes, moved.collapsed_dims, strict=True)
        )
        return replace(moved, collapsed_dims=collapsed)


def comparable(a: Term, b: Term) -> bool:
    """Whether along every axis one of the terms varies along all dimensions the other varies along."""
    for mine, theirs in zip(a.axes, b.axes, strict=True):
        if mine is None or theirs is None:
            continue
        pairs = list(zip(mine[0].shape, theirs[0].shape, strict=True))
        if not (all(m == n or n == 1 for m, n in pairs) or all(m == n or m == 1 for m, n in pairs)):
            return False
    return True


def extent(term: Term) -> int:
    """The number of entries of its arrays: how much it varies."""
    return sum(arrays[0].size for arrays in term.axes if arrays is not None)


def shared_dim(term: Term, axis: int, dim: int) -> bool:
    """Whether another axis of the image varies along the dimension as well, as in a row of tokens."""
    others = (arrays for i, arrays in enumerate(term.axes) if i != axis and arrays is not None)
    return any(varies(arrays[0], dim) for arrays in others)


@dataclass(frozen=True, eq=False)
class Field:
    """All terms of a tensor; or, after a concatenation, the fields of its parts along a dimension (None: no field)."""

    terms: tuple[Term, ...]
    parts: tuple[int, tuple[tuple[int, Field | None], ...]] | None = None

    def map(self, move: Callable[[Term], Term]) -> Field:
        return Field(tuple(map(move, self.terms)))


class Taps(NamedTuple):
    """A window along one dimension: the number of outputs, its step, and exactly which positions each output reads.

    `reads` are these positions as (outputs, reads), -1 outside the map. `resize` is the dependence of a resizer's
    window on the sizes.
    """

    outputs: int
    window: Window
    reads: Callable[[], NDArray[np.intp]]
    resize: Resized | None = None
