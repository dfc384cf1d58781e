"""A figure over several runs, and how figures are written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Spread", "number", "pareto_front", "percent", "plural", "show_size"]

Pair = tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """The mean of one figure over `n` runs, and their sample standard deviation (None for a single run)."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that are known; None if no value is. An infinite value makes the mean infinite."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        if not all(map(math.isfinite, known)):
            return cls(mean=sum(known), std=None, n=len(known))
        std = statistics.stdev(known) if len(known) > 1 else None
        return cls(mean=statistics.fmean(known), std=std, n=len(known))

    def show(self, digits: int = 1, scale: float = 1.0) -> str:
        """The figure as 'mean ± standard deviation'; '-' stands for the spread of a single run."""
        return f"{number(self.mean * scale, digits)} ± {number(None if self.std is None else self.std * scale, digits)}"


def number(value: float | None, digits: int = 1) -> str:
    """A figure with so many digits after the point; '-' if there is none, 'inf' if it is infinite."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def show_size(size: Pair, digits: int = 0) -> str:
    """A size or receptive field as HxW."""
    return f"{number(size[0], digits)}x{number(size[1], digits)}"


def percent(accuracy: Spread) -> str:
    shown = f"{100 * accuracy.mean:.1f} %"
    return shown if accuracy.std is None else f"{shown} ± {100 * accuracy.std:.1f}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points that no other beats: none is as cheap and as good, and better in one."""

    def beaten(cost: float, value: float) -> bool:
        return any(c <= cost and v >= value and (c < cost or v > value) for c, v in points)

    return sorted((i for i, point in enumerate(points) if not beaten(*point)), key=lambda i: points[i])
