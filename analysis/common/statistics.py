"""Mean and standard deviation over runs, number formats, and Pareto fronts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynpool.common.extras import optional
from dynpool.size_math import PerAxis

__all__ = ["MeanStd", "format_accuracy", "format_field", "format_number", "format_size", "pareto_front", "plural"]

ROUNDING = 1e-9  # relative, of means of equal figures over different numbers of runs


@dataclass(frozen=True)
class MeanStd:
    """Mean and sample standard deviation of one figure over `n` runs; `std` is None for a single run."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def from_values(cls, values: Iterable[float | None]) -> MeanStd | None:
        """Mean and standard deviation of the values that are not None; None if there are none.

        An infinite value makes the mean infinite, with no standard deviation.
        """
        known = [value for value in values if value is not None]
        if not known:
            return None
        if not all(map(math.isfinite, known)):
            return cls(mean=sum(known), std=None, n=len(known))
        std = statistics.stdev(known) if len(known) > 1 else None
        return cls(mean=statistics.fmean(known), std=std, n=len(known))

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None where there is no standard deviation."""
        return None if self.std is None else self.std / math.sqrt(self.n)

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The confidence interval of the mean, by Student's t; None where there is no standard deviation."""
        if self.error is None:
            return None
        with optional():
            from scipy.stats import t
        half = float(t.ppf((1 + level) / 2, self.n - 1)) * self.error
        return self.mean - half, self.mean + half

    def show(self, digits: int = 1, scale: float = 1.0) -> str:
        """The text 'mean ± standard deviation', with '-' where there is no standard deviation."""
        std = None if self.std is None else self.std * scale
        return f"{format_number(self.mean * scale, digits)} ± {format_number(std, digits)}"


def format_number(value: float | None, digits: int = 1) -> str:
    """A number with `digits` decimals; '-' for None and NaN, 'inf' or '-inf' for an infinity."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def format_field(value: float) -> str:
    """A receptive field rounded to 0.1; '∞' where it is global."""
    return f"{round(value, 1):g}" if math.isfinite(value) else "∞"


def format_size(size: PerAxis, digits: int = 0) -> str:
    """A size or receptive field as 'HxW'."""
    return "x".join(format_number(value, digits) for value in size)


def format_accuracy(accuracy: MeanStd) -> str:
    """An accuracy in percent, with its standard deviation if there is one: '90.0 % ± 1.0'."""
    shown = f"{100 * accuracy.mean:.1f} %"
    return shown if accuracy.std is None else f"{shown} ± {100 * accuracy.std:.1f}"


def plural(count: int, noun: str) -> str:
    """A count with its noun: '1 run', '3 runs'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points on the Pareto front (low cost, high value), by rising cost.

    A point is on the front if no other costs at most as much with at least its value and is better in one of the two,
    by more than the rounding of a mean.
    """

    def dominated(cost: float, value: float) -> bool:
        a, b = ROUNDING * abs(cost), ROUNDING * abs(value)
        return any(c <= cost + a and v >= value - b and (c < cost - a or v > value + b) for c, v in points)

    return sorted((i for i, point in enumerate(points) if not dominated(*point)), key=lambda i: points[i])
