"""Measures of the image positions that a tensor sees: the distance of neighbours, and the first position."""

from __future__ import annotations

import hashlib
import math
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from .arrays import NEAR, Array

__all__ = [
    "Measures",
    "affine",
    "affine_step",
    "anchor",
    "evened",
    "first_value",
    "most_common",
    "read",
    "smallest_step",
    "straightened",
]

_Key = tuple[tuple[int, ...], bytes]


class Measures:
    """Cached measures of the arrays of one walk, computed once for all equal arrays."""

    def __init__(self) -> None:
        self._arrays: WeakValueDictionary[_Key, Array] = WeakValueDictionary()
        self._found: dict[_Key, tuple[float, float]] = {}

    def shared(self, at: Array) -> Array:
        """One object for all equal arrays, so that most comparisons are by identity."""
        return self._arrays.setdefault(_key(at), at)

    def step(self, at: Array) -> float:
        """`smallest_step`."""
        return self.of(at)[0]

    def of(self, at: Array) -> tuple[float, float]:
        """`smallest_step` and `anchor`."""
        if at.size == 1:
            return smallest_step(at), anchor(at)
        key = _key(at)
        if key not in self._found:
            self._found[key] = (smallest_step(at), anchor(at))
        return self._found[key]


def _key(at: Array) -> _Key:
    """The same for all equal arrays."""
    return at.shape, hashlib.blake2b(np.ascontiguousarray(at).data, digest_size=16).digest()


def first_value(array: Array) -> float:
    """The first entry that is not NaN; NaN if there is none."""
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
    return middle if (np.abs(run - middle) < NEAR).sum() * 2 > np.isfinite(run).sum() else first_value(array)


def smallest_step(array: Array) -> float:
    """The distance of the nearest different entries, negative if they decrease evenly; 0 if all are equal.

    Neighbours in the image need not be neighbours here, where tokens are laid out block by block.
    """
    if array.size == 1:
        return 0.0
    flat = array.ravel()
    steps = flat[1:] - flat[:-1]
    first = float(steps[0])
    if abs(first) > NEAR and bool((np.abs(steps - first) < NEAR).all()):
        return first
    if array.size in array.shape and np.isnan(flat).any():  # every n-th position of one dimension may hold something
        held = np.flatnonzero(~np.isnan(flat))
        slopes = np.diff(flat[held]) / np.diff(held)
        if slopes.size and abs(slopes[0]) > NEAR and bool((np.abs(slopes - slopes[0]) < NEAR).all()):
            return float(slopes[0])
    steps = np.diff(np.unique(flat))
    steps = steps[steps > NEAR]  # drops NaN as well
    return float(steps.min()) if steps.size else 0.0


def affine_step(array: Array, dim: int) -> float | None:
    """The difference of neighbours along a dimension, if it is the same everywhere; else None."""
    steps = np.diff(array, axis=dim)
    step = float(steps.flat[0])
    return step if bool((np.abs(steps - step) < NEAR).all()) else None


def most_common(array: Array) -> float:
    """The most frequent value, the smallest if there are several; NaN is ignored."""
    held = array[~np.isnan(array)]
    values, counts = np.unique(held.round(6), return_counts=True)
    return float(values[counts.argmax()])


def evened(array: Array, dim: int) -> Array:
    """The array with runs of equal entries of equal length replaced by even steps: a repetition is a resize.

    >>> evened(np.array([0.0, 0.0, 1.0, 1.0]), 0)
    array([-0.25,  0.25,  0.75,  1.25])
    """
    n = array.shape[dim]
    changes = np.flatnonzero(np.abs(np.diff(array, axis=dim)).reshape(-1) > NEAR) + 1
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
    """The array as a straight line, if it varies along a single dimension and most entries are on that line."""
    n = array.shape[dim]
    if array.size != n or n < 4:
        return array
    steps = np.diff(array.ravel())
    if np.isnan(steps).all():
        return array
    grid, step = np.arange(n, dtype=np.float64), float(np.nanmedian(steps))
    begin = float(np.nanmedian(array.ravel() - step * grid))
    line = (begin + step * grid).reshape(array.shape)
    return line if (np.abs(array - line) < NEAR).sum() * 2 > n else array


def affine(first: Array, dim: int, offset: float, step: float, n: int) -> Array:
    grid = offset + step * np.arange(n, dtype=np.float64)
    return first + grid.reshape([-1 if i == dim else 1 for i in range(first.ndim)])


def read(at: Array, dim: int, index: NDArray[np.intp]) -> tuple[Array, float]:
    """The centre of the positions that each row of `index` reads along a dimension, and the median extent."""
    low = high = np.full_like(at.take([0] * len(index), axis=dim), np.nan)
    for column in index.T:
        read = at.take(np.maximum(column, 0), axis=dim)
        outside = (column < 0).reshape([-1 if i == dim else 1 for i in range(at.ndim)])
        read = np.where(outside, np.nan, read)
        low, high = np.fmin(low, read), np.fmax(high, read)
    return (low + high) / 2, float(np.nanmedian(high - low))  # reads across the edge of a rolled map are ignored
