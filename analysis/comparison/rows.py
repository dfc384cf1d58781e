"""One row of figures per run, and one per group of runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dynpool.size_math import PerAxis, Size

from ..common.metric import Metric, metric_of
from ..common.statistics import MeanStd
from .read_runs import Run

__all__ = ["MethodRow", "RunRow", "footnote", "metric_name"]


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run at its last finished epoch.

    Accuracies are fractions, in segmentation of pixels; `miou` is the mean IoU of segmentation, else None.
    `best_accuracy` and `best_miou` are the highest of any epoch, `best_epoch` is that of the metric. Sizes, I_min and
    I_res are (height, width) in pixels, (length,) or (depth, height, width); peak_memory is in bytes, latency_ms
    that of a pass as measured. Runs of one `group` differ only in their seed: same method and, if the method was
    trained at several, same grid point. `gmacs_budget` is the target for its GMACs, None if it had none, and `matches`
    the method whose cost that was.
    `validation` is None if accuracies are those on test images, see `Run`. `behind_global` is the number of
    convolutions behind a global operation, which neither `i_min` nor `unproductive` counts.
    """

    folder: str
    name: str
    method: str
    group: str
    seed: int
    i_res: Size
    epochs: int
    epochs_planned: int
    finished: bool
    accuracy: float
    best_accuracy: float
    miou: float | None
    best_miou: float | None
    best_epoch: int
    gmacs: float
    gmacs_budget: float | None
    matches: str | None
    validation: float | None
    sizes: Mapping[str, Size]
    alphas: Mapping[str, PerAxis]
    i_min: PerAxis
    i_max: PerAxis | None
    i_max_local: PerAxis | None
    unproductive: int | None
    behind_global: int
    parameters: int | None
    seconds_per_epoch: float | None
    peak_memory: int | None
    latency_ms: float | None

    @classmethod
    def from_run(cls, run: Run) -> RunRow:
        """The row of a run."""
        accuracies = [row.test_accuracy for row in run.trained if row.test_accuracy is not None]
        mious = [row.test_miou for row in run.trained if row.test_miou is not None]
        scores = [(row.score, row.epoch) for row in run.trained if row.score is not None]
        _, best_epoch = max(scores, key=lambda pair: (pair[0], -pair[1]))
        seconds = MeanStd.from_values(row.seconds for row in run.trained)
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
            accuracy=accuracies[-1],
            best_accuracy=max(accuracies),
            miou=mious[-1] if mious else None,
            best_miou=max(mious, default=None),
            best_epoch=best_epoch,
            gmacs=run.last.gmacs,
            gmacs_budget=run.gmacs_budget,
            matches=run.matches,
            validation=run.validation,
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
            latency_ms=run.last.latency_ms,
        )

    @property
    def metric(self) -> Metric:
        """The figure that the run is judged by."""
        return metric_of({"test_miou": self.miou})

    @property
    def score(self) -> float:
        """The metric at the last finished epoch."""
        value: float = getattr(self, self.metric.key)
        return value

    @property
    def best_score(self) -> float:
        """The metric at the best epoch."""
        value: float = getattr(self, f"best_{self.metric.key}")
        return value

    @property
    def off_budget(self) -> float | None:
        """Relative deviation of the run's GMACs from its budget, positive above it; None without a budget."""
        return None if self.gmacs_budget is None else self.gmacs / self.gmacs_budget - 1


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """All runs of one group: mean and sample standard deviation over its seeds, at each run's last finished epoch.

    A group is a method, or one grid point of a method trained at several. `i_min` has a value for each axis. `i_res` is
    the input resolution as (height, width), or of as many axes. `i_res`, `gmacs_budget` and `matches` are None where
    the runs differ in them. `sizes` is the mean size of each resolution, None where the runs do not have the same
    resolutions. `behind_global` is the largest count of any run.
    """

    method: str
    group: str
    seeds: tuple[int, ...]
    unfinished: int
    accuracy: MeanStd
    best_accuracy: MeanStd
    miou: MeanStd | None
    best_miou: MeanStd | None
    gmacs: MeanStd
    gmacs_budget: float | None
    matches: str | None
    i_min: tuple[MeanStd, ...]
    i_res: Size | None
    unproductive: MeanStd | None
    behind_global: int
    parameters: MeanStd | None
    seconds_per_epoch: MeanStd | None
    peak_memory: MeanStd | None
    latency_ms: MeanStd | None
    sizes: Mapping[str, PerAxis] | None

    @classmethod
    def from_rows(cls, rows: Sequence[RunRow]) -> MethodRow:
        """The row of one group from the rows of its runs, at least one."""
        return cls(
            method=rows[0].method,
            group=rows[0].group,
            seeds=tuple(row.seed for row in rows),
            unfinished=sum(not row.finished for row in rows),
            accuracy=_mean_std(row.accuracy for row in rows),
            best_accuracy=_mean_std(row.best_accuracy for row in rows),
            miou=MeanStd.from_values(row.miou for row in rows),
            best_miou=MeanStd.from_values(row.best_miou for row in rows),
            gmacs=_mean_std(row.gmacs for row in rows),
            gmacs_budget=rows[0].gmacs_budget if len({row.gmacs_budget for row in rows}) == 1 else None,
            matches=rows[0].matches if len({row.matches for row in rows}) == 1 else None,
            i_min=tuple(map(_mean_std, zip(*(row.i_min for row in rows), strict=True))),
            i_res=rows[0].i_res if len({row.i_res for row in rows}) == 1 else None,
            unproductive=MeanStd.from_values(row.unproductive for row in rows),
            behind_global=max(row.behind_global for row in rows),
            parameters=MeanStd.from_values(row.parameters for row in rows),
            seconds_per_epoch=MeanStd.from_values(row.seconds_per_epoch for row in rows),
            peak_memory=MeanStd.from_values(row.peak_memory for row in rows),
            latency_ms=MeanStd.from_values(row.latency_ms for row in rows),
            sizes=_mean_sizes(rows),
        )

    @property
    def metric(self) -> Metric:
        """The figure that the runs are judged by."""
        return metric_of({"test_miou": self.miou})

    @property
    def score(self) -> MeanStd:
        """The metric at the last finished epochs."""
        value: MeanStd = getattr(self, self.metric.key)
        return value

    @property
    def best_score(self) -> MeanStd:
        """The metric at the best epochs."""
        value: MeanStd = getattr(self, f"best_{self.metric.key}")
        return value

    @property
    def grid_point(self) -> str:
        """The settings that tell groups of one method apart, such as 'gmacs_budget=0.001'; empty for a single group."""
        return self.group.removeprefix(self.method).strip()

    def starred(self, figure: str) -> str:
        """The figure, with a star if it leaves out layers behind a global operation: see `footnote`."""
        return f"{figure} *" if self.behind_global else figure


def footnote(methods: Sequence[MethodRow]) -> str:
    """The explanation of the star on figures of receptive fields; empty if no figure has one."""
    found = [f"{row.group} {row.behind_global}" for row in methods if row.behind_global]
    if not found:
        return ""
    return (
        "* counts only layers before the first global operation (such as DiffStride's Fourier transform). Every"
        " convolution behind it sees the whole image, so it has no receptive field of its own."
        f" Convolutions not counted: {', '.join(found)}."
    )


def metric_name(runs: Sequence[Run | RunRow]) -> str:
    """What the scores of runs are: 'test accuracy', 'validation accuracy', or 'accuracy' if some are either."""
    kinds = {"test " if run.validation is None else "validation " for run in runs}
    return f"{kinds.pop() if len(kinds) == 1 else ''}{runs[0].metric.name}"


def _mean_std(values: Iterable[float]) -> MeanStd:
    found = MeanStd.from_values(values)
    if found is None:
        raise ValueError("a method has no runs")
    return found


def _mean_sizes(rows: Sequence[RunRow]) -> dict[str, PerAxis] | None:
    names = list(rows[0].sizes)
    if any(list(row.sizes) != names for row in rows):
        return None
    return {name: tuple(map(statistics.fmean, zip(*(row.sizes[name] for row in rows), strict=True))) for name in names}
