"""The operator along any number of axes as its definition reads, query by query: slow, in float64, without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import reduce as fold
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["restated"]

Array = NDArray[np.float64]
_STEP = Fraction(1, 2**20)  # less than the distance between a query and the nearest pixel that it does not lie on


def _exact(u: Fraction, pixels: int) -> list[Fraction]:
    """The weights of the pixels in the value at position u: linear between pixels, constant outside the map."""
    u = min(max(u, Fraction(0)), Fraction(pixels - 1))
    low = math.floor(u)
    weights = [Fraction(0)] * pixels
    weights[low] += 1 - (u - low)
    weights[min(low + 1, pixels - 1)] += u - low
    return weights


def _weights(u: Fraction, pixels: int) -> Array:
    return np.array([float(w) for w in _exact(u, pixels)])


def _slopes(u: Fraction, pixels: int) -> Array:
    """The mean of the one-sided derivatives of the weights to u: the map is linear within a step on either side."""
    both = zip(_exact(u + _STEP, pixels), _exact(u - _STEP, pixels), strict=True)
    return np.array([float((right - left) / (2 * _STEP)) for right, left in both])


def _at(vectors: Sequence[Array]) -> Array:
    return fold(np.multiply.outer, vectors)


def restated(x: Array, alpha: Sequence[float], size: Sequence[int], how: str, dy: Array) -> tuple[Array, Array, Array]:
    """The pooled map (C, *size) of x (C, ...), the gradient to x, and that to alpha, for the gradient dy to the map."""
    pixels = x.shape[1:]
    y, dx, dalpha = np.zeros_like(dy), np.zeros_like(x), np.zeros(len(size))
    # delta = n / (4 m), and m moves with alpha as n / alpha does: d delta / d alpha = n / (4 m^2) * n / alpha^2
    speed = [n / (4 * m * m) * n / (a * a) for n, m, a in zip(pixels, size, alpha, strict=True)]
    for cell in product(*map(range, size)):
        queries = []
        for signs in product((-1, 1), repeat=len(size)):
            u = [
                (i + Fraction(1, 2)) * Fraction(n, m) - Fraction(1, 2) + s * Fraction(n, 4 * m)
                for i, n, m, s in zip(cell, pixels, size, signs, strict=True)
            ]
            values = [_weights(position, n) for position, n in zip(u, pixels, strict=True)]
            slopes = [s * _slopes(position, n) for position, n, s in zip(u, pixels, signs, strict=True)]
            moved = [_at([*values[:k], slopes[k], *values[k + 1 :]]) for k in range(len(size))]
            queries.append((_at(values), moved))
        for channel in range(len(x)):
            grad, found = dy[(channel, *cell)], [float((w * x[channel]).sum()) for w, _ in queries]
            taken = queries if how != "max" else [queries[found.index(max(found))]]
            pulled, result = fold(np.add, (w for w, _ in taken)) / len(taken), sum(found) / len(found)
            if how == "sample":
                starts = zip(cell, pixels, size, strict=True)
                pulled = _at([_weights(i * Fraction(n, m), n) for i, n, m in starts])
                result = float((pulled * x[channel]).sum())
            y[(channel, *cell)] = max(found) if how == "max" else result
            dx[channel] += grad * pulled
            for axis, factor in enumerate(speed):
                slope = sum(float((moved[axis] * x[channel]).sum()) for _, moved in taken) / len(taken)
                dalpha[axis] += grad * slope * factor
    return y, dx, dalpha
