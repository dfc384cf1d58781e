"""Arrays over the positions of a tensor, broadcastable to it: a dimension they do not vary along has size 1.

A field keeps, for each axis of the image, where in the image each position of a tensor looks. Moving the tensor's
positions about (views, permutations, slices) moves the entries of these arrays in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "affine_step",
    "anchor",
    "blocks",
    "constant",
    "evened",
    "first_value",
    "most_common",
    "moves",
    "reshape",
    "shrunk",
    "smallest_step",
    "straightened",
    "take",
    "varies",
]

Array = NDArray[np.float64]

_NEAR = 1e-6  # pixels: positions are sums of a few fractions, and closer ones are the same


def varies(array: Array, dim: int) -> bool:
    return array.shape[dim] > 1


def moves(array: Array, dim: int) -> bool:
    """Whether neighbours along a dimension differ, other than in that one of them holds nothing."""
    return varies(array, dim) and bool((np.abs(np.diff(array, axis=dim)) > _NEAR).any())


def constant(array: Array) -> bool:
    """Whether the array says the same of every position."""
    return array.size == 1


def take(array: Array, dim: int, index: NDArray[np.intp]) -> Array:
    """Entries `index` along a dimension; all of them are the only one where the array does not vary."""
    return array.take(index, axis=dim) if varies(array, dim) else array


def first_value(array: Array) -> float:
    """What holds at the first position that holds anything (is not NaN); NaN if none does."""
    value = float(array.flat[0])
    if not math.isnan(value):
        return value
    held = array[~np.isnan(array)]
    return float(held[0]) if held.size else math.nan


def anchor(array: Array) -> float:
    """What the first position would hold if the run that most positions are part of began there; NaN if none holds any.

    A rolled map begins in its middle, one with circular padding at its end.
    """
    dims = [dim for dim, n in enumerate(array.shape) if n > 1]
    if len(dims) != 1:
        return first_value(array)
    flat = array.ravel()
    run = flat - smallest_step(array) * np.arange(flat.size)
    middle = float(np.nanmedian(run)) if not np.isnan(flat).all() else math.nan
    return middle if (np.abs(run - middle) < _NEAR).sum() * 2 > np.isfinite(run).sum() else first_value(array)


def evened(array: Array, dim: int) -> Array:
    """The array with runs of equal entries along a dimension, all equally long, made even: a repetition is a resize.

    >>> evened(np.array([0.0, 0.0, 1.0, 1.0]), 0)
    array([-0.25,  0.25,  0.75,  1.25])
    """
    n = array.shape[dim]
    changes = np.flatnonzero(np.abs(np.diff(array, axis=dim)).reshape(-1) > _NEAR) + 1
    if array.size != n or not len(changes) or changes[0] == 1 or n % changes[0]:
        return array
    times = int(changes[0])
    kept = array.take(np.arange(0, n, times), axis=dim)
    step = affine_step(kept, dim)
    if len(changes) != n // times - 1 or step is None:
        return array
    grid = (np.arange(n) - (times - 1) / 2) * (step / times)
    return kept.take([0], axis=dim) + grid.reshape([-1 if i == dim else 1 for i in range(array.ndim)])


def straightened(array: Array, dim: int) -> Array:
    """The array with its ends in line with the rest along the only dimension it varies along, if it does so evenly."""
    n = array.shape[dim]
    if array.size != n or n < 4:
        return array
    steps = np.diff(array.ravel())
    if np.isnan(steps).all():
        return array
    grid, step = np.arange(n, dtype=np.float64), float(np.nanmedian(steps))
    begin = float(np.nanmedian(array.ravel() - step * grid))
    line = (begin + step * grid).reshape(array.shape)
    return line if (np.abs(array - line) < _NEAR).sum() * 2 > n else array


def most_common(array: Array) -> float:
    """The value that most positions have, of several the smallest; what is NaN does not count."""
    held = array[~np.isnan(array)]
    values, counts = np.unique(held.round(6), return_counts=True)
    return float(values[counts.argmax()])


def affine_step(array: Array, dim: int) -> float | None:
    """By how much entries differ along a dimension, if by the same everywhere; else None."""
    steps = np.diff(array, axis=dim)
    step = float(steps.flat[0])
    return step if bool((np.abs(steps - step) < _NEAR).all()) else None


def smallest_step(array: Array) -> float:
    """The distance of the nearest different entries, negative if every neighbour is smaller than the last; 0: none.

    Neighbours in the image need not be neighbours here, where tokens are laid out block by block.
    """
    if array.size == 1:
        return 0.0
    flat = array.ravel()
    steps = flat[1:] - flat[:-1]
    first = float(steps[0])
    if abs(first) > _NEAR and bool((np.abs(steps - first) < _NEAR).all()):
        return first
    if array.size in array.shape and np.isnan(flat).any():  # every n-th position of one dimension may hold something
        held = np.flatnonzero(~np.isnan(flat))
        slopes = np.diff(flat[held]) / np.diff(held)
        if slopes.size and abs(slopes[0]) > _NEAR and bool((np.abs(slopes - slopes[0]) < _NEAR).all()):
            return float(slopes[0])
    steps = np.diff(np.unique(flat))
    steps = steps[steps > _NEAR]  # drops NaN as well
    return float(steps.min()) if steps.size else 0.0


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
    """The smallest runs of dimensions of both shapes that hold equally many entries, in order.

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
