"""Arrays over the positions of a tensor, broadcastable to it: a dimension they do not vary along has size 1.

For each axis of the image, a field stores the image position that each position of a tensor sees. Views, permutations
and slices of the tensor apply to these arrays in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NEAR",
    "Array",
    "blocks",
    "concatenated",
    "constant",
    "expanded",
    "moves",
    "reshape",
    "shrunk",
    "take",
    "varies",
]

Array = NDArray[np.float64]

NEAR = 1e-6  # pixels: positions are sums of a few fractions; closer ones are considered equal


def varies(array: Array, dim: int) -> bool:
    return array.shape[dim] > 1


def moves(array: Array, dim: int) -> bool:
    """Whether neighbours along a dimension differ, not counting empty (NaN) entries."""
    return varies(array, dim) and bool((np.abs(np.diff(array, axis=dim)) > NEAR).any())


def constant(array: Array) -> bool:
    """Whether the array is the same for every position."""
    return array.size == 1


def take(array: Array, dim: int, index: NDArray[np.intp]) -> Array:
    """Entries `index` along a dimension; the single entry if the array does not vary along it."""
    return array.take(index, axis=dim) if varies(array, dim) else array


def reshape(array: Array, old: Sequence[int], new: Sequence[int]) -> Array:
    """The array of a tensor of shape `old` after a view as shape `new`."""
    shape: list[int] = []
    split = False
    for before, after in blocks(old, new):
        here = array.shape[before.start : before.stop]
        sizes = [new[j] for j in after]
        if all(n == 1 for n in here):
            shape += [1] * len(sizes)
        elif [n for n in sizes if n > 1] == [n for n in here if n > 1] == [old[i] for i in before if old[i] > 1]:
            shape += sizes
        else:
            full = list(array.shape)
            full[before.start : before.stop] = [old[i] for i in before]
            array = np.broadcast_to(array, full)
            shape += sizes
            split = True
    array = array.reshape(shape)
    return shrunk(array) if split else array


def blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[range, range]]:
    """The smallest runs of dimensions of both shapes with equal numbers of entries, in order.

    >>> blocks((1, 8, 6), (8, 2, 3))
    [(range(0, 2), range(0, 1)), (range(2, 3), range(1, 3))]
    """
    found = []
    i = j = 0
    while i < len(old) or j < len(new):
        start, begin = i, j
        a = b = 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        found.append((range(start, i), range(begin, j)))
    return found


def shrunk(array: Array) -> Array:
    """The array without the dimensions it does not vary along."""
    for dim, n in enumerate(array.shape):
        if n > 1:
            first = array.take([0], axis=dim)
            if bool(((array == first) | (np.isnan(array) & np.isnan(first))).all()):
                array = first
    return array


def expanded(at: Array, dim: int, size: int) -> Array:
    shape = list(at.shape)
    shape[dim] = size
    return np.broadcast_to(at, shape)


def concatenated(pieces: Sequence[Array], dim: int) -> Array:
    shape = [max(p.shape[i] for p in pieces) for i in range(pieces[0].ndim)]
    full = [np.broadcast_to(p, [p.shape[dim] if i == dim else n for i, n in enumerate(shape)]) for p in pieces]
    return np.concatenate(full, axis=dim)
