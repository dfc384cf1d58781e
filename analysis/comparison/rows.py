"""One run, and all runs of one method, as rows of figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..common.statistics import Spread
from .read_runs import Run

__all__ = ["MethodRow", "RunRow", "footnote"]

Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run at its last finished epoch.

    Accuracies are fractions, sizes, I_min and I_res (height, width) in pixels, peak_memory bytes. `group` is what the
    run shares with those of other seeds: the method, and its point of the grid if it has several. `gmacs_budget` is
    what its GMACs were to be, None if they were free; `behind_global` how many convolutions see the whole image and are
    counted neither by `i_min` nor by `unproductive`.
    """

    folder: str
    name: str
    method: str
    group: str
    seed: int
    i_res: tuple[int, int]
    epochs: int
    epochs_planned: int
    finished: bool
    accuracy: float
    best_accuracy: float
    best_epoch: int
    gmacs: float
    gmacs_budget: float | None
    sizes: Mapping[str, tuple[int, int]]
    alphas: Mapping[str, Pair]
    i_min: Pair
    i_max: Pair | None
    i_max_local: Pair | None
    unproductive: int | None
    behind_global: int
    parameters: int | None
    seconds_per_epoch: float | None
    peak_memory: int | None

    @classmethod
    def of(cls, run: Run) -> RunRow:
        """The row of a run."""
        accuracies = [(row.test_accuracy, row.epoch) for row in run.trained if row.test_accuracy is not None]
        best, best_epoch = max(accuracies, key=lambda pair: (pair[0], -pair[1]))
        seconds = Spread.of(row.seconds for row in run.trained)
        return cls(
            folder=str(run.folder),
            name=run.name,
            method=run.method,
            group=run.group,
            i_res=run.input_size[1:],
            seed=run.seed,
            epochs=run.last.epoch,
            epochs_planned=run.epochs_planned,
            finished=run.finished,
            accuracy=accuracies[-1][0],
            best_accuracy=best,
            best_epoch=best_epoch,
            gmacs=run.last.gmacs,
            gmacs_budget=run.gmacs_budget,
            sizes=run.last.sizes,
            alphas=run.last.alphas,
            i_min=run.last.i_min,
            i_max=run.last.i_max,
            i_max_local=run.last.i_max_local,
            unproductive=run.last.unproductive,
            behind_global=run.last.behind_global or 0,
            parameters=run.last.parameters,
            seconds_per_epoch=None if seconds is None else seconds.mean,
            peak_memory=run.last.peak_memory,
        )

    @property
    def off_budget(self) -> float | None:
        """By what part of its budget the run's GMACs miss it, positive above it; None without a budget."""
        return None if self.gmacs_budget is None else self.gmacs / self.gmacs_budget - 1


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """All runs of one group: mean and sample standard deviation over its seeds, at each run's last finished epoch.

    A group is a method, or one point of the grid of a method that is trained at several. `i_res` is the input
    resolution as (height, width), None where the runs differ in it, as is `gmacs_budget`; `sizes` is the mean size of
    each resolution, None where the runs do not have the same resolutions; `behind_global` is the most of any run.
    """

    method: str
    group: str
    seeds: tuple[int, ...]
    unfinished: int
    accuracy: Spread
    best_accuracy: Spread
    gmacs: Spread
    gmacs_budget: float | None
    i_min_h: Spread
    i_min_w: Spread
    i_res: tuple[int, int] | None
    unproductive: Spread | None
    behind_global: int
    parameters: Spread | None
    seconds_per_epoch: Spread | None
    peak_memory: Spread | None
    sizes: Mapping[str, Pair] | None

    @classmethod
    def of(cls, rows: Sequence[RunRow]) -> MethodRow:
        """The row of one group from the rows of its runs, of which there is at least one."""
        return cls(
            method=rows[0].method,
            group=rows[0].group,
            seeds=tuple(row.seed for row in rows),
            unfinished=sum(not row.finished for row in rows),
            accuracy=_spread(row.accuracy for row in rows),
            best_accuracy=_spread(row.best_accuracy for row in rows),
            gmacs=_spread(row.gmacs for row in rows),
            gmacs_budget=rows[0].gmacs_budget if len({row.gmacs_budget for row in rows}) == 1 else None,
            i_min_h=_spread(row.i_min[0] for row in rows),
            i_min_w=_spread(row.i_min[1] for row in rows),
            i_res=rows[0].i_res if len({row.i_res for row in rows}) == 1 else None,
            unproductive=Spread.of(row.unproductive for row in rows),
            behind_global=max(row.behind_global for row in rows),
            parameters=Spread.of(row.parameters for row in rows),
            seconds_per_epoch=Spread.of(row.seconds_per_epoch for row in rows),
            peak_memory=Spread.of(row.peak_memory for row in rows),
            sizes=_mean_sizes(rows),
        )

    @property
    def grid_point(self) -> str:
        """What tells the group from others of its method, such as 'gmacs_budget=0.001'; mostly empty."""
        return self.group.removeprefix(self.method).strip()

    def starred(self, figure: str) -> str:
        """A figure of receptive fields, with a star if it leaves layers out: see `footnote`."""
        return f"{figure} *" if self.behind_global else figure


def footnote(methods: Sequence[MethodRow]) -> str:
    """What the star at figures of receptive fields means; empty if there is none."""
    found = [f"{row.group} {row.behind_global}" for row in methods if row.behind_global]
    if not found:
        return ""
    return (
        "* of the layers in front of the first operation over the whole map (such as DiffStride's Fourier transform)"
        " alone. Every convolution behind it sees the whole image and so is no layer with a receptive field of its own;"
        f" of these there are: {', '.join(found)}."
    )


def _spread(values: Iterable[float]) -> Spread:
    spread = Spread.of(values)
    if spread is None:
        raise ValueError("a method has no runs")
    return spread


def _mean_sizes(rows: Sequence[RunRow]) -> dict[str, Pair] | None:
    names = list(rows[0].sizes)
    if any(list(row.sizes) != names for row in rows):
        return None
    return {
        name: (
            statistics.fmean(row.sizes[name][0] for row in rows),
            statistics.fmean(row.sizes[name][1] for row in rows),
        )
        for name in names
    }
