"""Curves through measured times: seconds by amount of work, and the line that passes follow as a whole."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Curve", "fitted_line"]

_APART = 1.25  # the slope at an amount of work is that from 1 / _APART to _APART times it


@dataclass(frozen=True)
class Curve:
    """Seconds by amount of work, linear between what was measured; it never falls.

    Beyond what was measured it goes on by the slope from the first to the last point, or in proportion to the work if
    that is less.
    """

    works: tuple[float, ...]
    seconds: tuple[float, ...]

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Curve:
        """The non-decreasing curve nearest to the points (work, seconds): isotonic regression."""
        blocks: list[list[tuple[float, float]]] = []
        for point in sorted(points):
            blocks.append([point])
            while len(blocks) > 1 and (blocks[-2][0][0] == blocks[-1][0][0] or _mean(blocks[-2]) > _mean(blocks[-1])):
                blocks[-2:] = [blocks[-2] + blocks[-1]]
        middle = [(sum(work for work, _ in block) / len(block), _mean(block)) for block in blocks]
        return cls(tuple(work for work, _ in middle), tuple(seconds for _, seconds in middle))

    @classmethod
    def checked(cls, works: Iterable[float], seconds: Iterable[float]) -> Curve:
        """A curve of given values. Raises ValueError unless works rise and seconds do not fall, all finite and >= 0."""
        curve = cls(tuple(map(float, works)), tuple(map(float, seconds)))
        if not curve.works or len(curve.works) != len(curve.seconds):
            raise ValueError(f"{len(curve.works)} works and {len(curve.seconds)} seconds")
        for values in (curve.works, curve.seconds):
            if not all(0 <= value < math.inf for value in values) or list(values) != sorted(values):
                raise ValueError(f"values are not finite, rising and 0 or more: {values}")
        if len(set(curve.works)) < len(curve.works):
            raise ValueError(f"works are not distinct: {curve.works}")
        return curve

    def __call__(self, work: float) -> float:
        works, seconds = self.works, self.seconds
        if len(works) == 1:
            return seconds[0]
        if works[0] <= work <= works[-1]:
            k = min(max(bisect_right(works, work), 1), len(works) - 1)
            part = (work - works[k - 1]) / (works[k] - works[k - 1])
            return seconds[k - 1] + part * (seconds[k] - seconds[k - 1])
        end = 0 if work < works[0] else -1
        # the range may be narrow beside the noise: time is at most proportional to work
        proportional = seconds[end] / works[end] if works[end] else 0.0
        slope = min((seconds[-1] - seconds[0]) / (works[-1] - works[0]), proportional)
        return seconds[end] + slope * (work - works[end])

    def slope(self, work: float) -> float:
        """Seconds per unit of work around an amount of it."""
        low, high = work / _APART, work * _APART
        return (self(high) - self(low)) / (high - low) if high > low else 0.0


def _mean(block: Sequence[tuple[float, float]]) -> float:
    return sum(seconds for _, seconds in block) / len(block)


def fitted_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(factor, constant) of the line y = factor * x + constant with the least relative errors.

    Neither is negative: where one would be, the constant is zero; and the factor is if all x are.
    """
    if not any(x):
        return 0.0, sum(1 / v for v in y) / sum(1 / v**2 for v in y)
    a = sum((u / v) ** 2 for u, v in zip(x, y, strict=True))
    b = sum(u / v**2 for u, v in zip(x, y, strict=True))
    c = sum(1 / v**2 for v in y)
    d, e = sum(u / v for u, v in zip(x, y, strict=True)), sum(1 / v for v in y)
    determinant = a * c - b * b
    if determinant > 1e-9 * a * c:
        factor, constant = (c * d - b * e) / determinant, (a * e - b * d) / determinant
        if factor >= 0 and constant >= 0:
            return factor, constant
    return d / a, 0.0
