"""The tail of a network: the layers that add nothing to the solution, as observed and as its receptive fields predict.

Reference: Richter, Byttner, Krumnack, Schallner, Shenk, "Size Matters", 2021, whose border layer is the first one whose
input has a receptive field as large as the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dynpool.common.arguments import check_numbers

from ..common.statistics import MeanStd
from .row import InspectionRow

__all__ = ["Border", "Tail", "TailOverRuns", "find_border", "find_tail", "tail_over_runs", "with_interval"]


@dataclass(frozen=True)
class Border:
    """The first layers whose input sees the whole image, by the recurrence of receptive fields.

    Attributes:
        r_min: along the shortest path and all axes: the first unproductive layer; None if there is none.
        r_min_by_axis: along the shortest path, per axis.
        r_max: along the longest path that is not global, and all axes.
        r_max_by_axis: along the longest path that is not global, per axis.
    """

    r_min: str | None
    r_min_by_axis: tuple[str | None, ...]
    r_max: str | None
    r_max_by_axis: tuple[str | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """The border as plain data."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Tail:
    """Where the solution is complete.

    Attributes:
        layers: the names that were looked at, in order of execution: those with a local receptive field if any has one,
            else all.
        solved: the first layer from which on the relative probe accuracy stays within `tolerance` of that of the last
            layer, or above it (layers that lose accuracy add nothing either); None without probes.
        low_saturation: the first layer from which on the saturation stays at most `low` times the highest; None if it
            does not.
        has_saturation: whether saturation was measured.
        tolerance: on the relative accuracy.
        low: share of the highest saturation.
    """

    layers: tuple[str, ...]
    solved: str | None
    low_saturation: str | None
    has_saturation: bool
    tolerance: float
    low: float

    @property
    def tail(self) -> tuple[str, ...]:
        """The layers after `solved`, which add nothing; empty without probes."""
        return () if self.solved is None else self.layers[self.layers.index(self.solved) + 1 :]

    def index(self, name: str | None) -> int:
        """Number of layers before the given one; of all layers for None, where a tail has no layer."""
        return len(self.layers) if name is None else self.layers.index(name)

    def to_dict(self) -> dict[str, Any]:
        """The tail as plain data."""
        return {
            "layers": list(self.layers),
            "solved": self.solved,
            "tail": list(self.tail),
            "low_saturation": self.low_saturation,
            "tolerance": self.tolerance,
            "low": self.low,
        }


def find_border(rows: Sequence[InspectionRow], i_res: Sequence[int]) -> Border:
    """The first of the layers whose input sees the whole image.

    Args:
        rows: in order of execution.
        i_res: (height, width) of the image in pixels.
    """

    def first(field: Callable[[InspectionRow], tuple[float, ...] | None], axes: Sequence[int]) -> str | None:
        for row in rows:
            seen = field(row)
            if seen is not None and all(seen[axis] >= i_res[axis] for axis in axes):
                return row.name
        return None

    every = range(len(i_res))
    return Border(
        r_min=first(lambda row: row.r_min_in, every),
        r_min_by_axis=tuple(first(lambda row: row.r_min_in, [axis]) for axis in every),
        r_max=first(lambda row: row.r_max_in, every),
        r_max_by_axis=tuple(first(lambda row: row.r_max_in, [axis]) for axis in every),
    )


def find_tail(rows: Sequence[InspectionRow], *, tolerance: float = 0.01, low: float = 0.5) -> Tail:
    """Where the solution is complete, see `Tail`.

    Args:
        rows: in order of execution.
        tolerance: by how much a layer's relative accuracy may be below that of the last layer, at least 0. Where the
            model's own accuracy is not known, accuracies are compared as they are.
        low: share of the highest saturation, from 0 to 1.

    Raises:
        TypeError: for a number of a wrong type.
        ValueError: for a number out of range.
    """
    check_numbers("a finite number of at least 0", lambda value: 0 <= value < math.inf, tolerance=tolerance)
    check_numbers("a number from 0 to 1", lambda value: 0 <= value <= 1, low=low)
    looked_at = [row for row in rows if row.is_local] or list(rows)
    accuracies = [
        row.probe.accuracy if row.relative is None else row.relative for row in looked_at if row.probe is not None
    ]
    shares = [row.saturation.share for row in looked_at if row.saturation is not None]
    names = tuple(row.name for row in looked_at)
    solved = _lasting([value >= accuracies[-1] - tolerance for value in accuracies])
    falls = _lasting([share <= low * max(shares) for share in shares])
    return Tail(
        layers=names,
        solved=None if solved is None else names[solved],
        low_saturation=None if falls is None else names[falls],
        has_saturation=bool(shares),
        tolerance=float(tolerance),
        low=float(low),
    )


@dataclass(frozen=True)
class TailOverRuns:
    """Tails of several runs of one network, as numbers of layers; None where no run has the figure.

    Attributes:
        solved: layers up to and with the one at which the solution is complete.
        low_saturation: layers before the saturation stays low; all of them in a run where it does not.
        border: layers before the border layer by r_min; all of them in a run without one.
        apart: layers of the tail less layers from the border on, run by run: above zero, more layers add nothing than
            the receptive field predicts.
    """

    solved: MeanStd | None
    low_saturation: MeanStd | None
    border: MeanStd | None
    apart: MeanStd | None

    def to_dict(self) -> dict[str, Any]:
        """The tails as plain data: mean, standard deviation, number of runs and 95 % interval of each figure."""
        return {name: with_interval(getattr(self, name)) for name in ("solved", "low_saturation", "border", "apart")}


def with_interval(figure: MeanStd | None) -> dict[str, Any] | None:
    """A figure over runs as plain data, with the 95 % interval of its mean."""
    if figure is None:
        return None
    low, high = figure.interval() or (None, None)
    return {"mean": figure.mean, "std": figure.std, "n": figure.n, "low": low, "high": high}


def tail_over_runs(tails: Sequence[Tail], borders: Sequence[Border]) -> TailOverRuns:
    """Means and deviations over runs of one network, as over seeds.

    Args:
        tails: one a run.
        borders: those of the same runs.

    Raises:
        ValueError: if there is no run or the numbers of tails and borders differ.
    """
    if not tails or len(tails) != len(borders):
        raise ValueError(f"tails and borders must be of the same runs, got {len(tails)} and {len(borders)}")
    pairs = list(zip(tails, borders, strict=True))
    solved = [None if tail.solved is None else tail.index(tail.solved) + 1.0 for tail in tails]
    border = [float(tail.index(line.r_min)) for tail, line in pairs]
    return TailOverRuns(
        solved=MeanStd.from_values(solved),
        low_saturation=MeanStd.from_values(
            float(tail.index(tail.low_saturation)) if tail.has_saturation else None for tail in tails
        ),
        border=MeanStd.from_values(border),
        apart=MeanStd.from_values(None if s is None else b - s for s, b in zip(solved, border, strict=True)),
    )


def _lasting(values: Sequence[bool]) -> int | None:
    """The index from which on all values are true; None if the last one is not, or there is none."""
    if not values or not values[-1]:
        return None
    return next((index + 1 for index in reversed(range(len(values))) if not values[index]), 0)
