"""Several training runs side by side: a row per run, a row per method, and one plain sentence on who is ahead."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from .plots import draw
from .runs import Run, find_runs, read_run

__all__ = ["Comparison", "MethodRow", "RunRow", "Spread", "compare_runs"]

Pair = tuple[float, float]

# The keys of config.yaml in which compared runs may differ: what is compared, and where and how it ran.
MAY_DIFFER = frozenset(
    {"name", "method", "seed", "out", "device", "threads", "checkpoint_every"}
    | {"data.root", "data.download", "data.cache"}
)


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


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run at its last finished epoch. Accuracies are fractions, sizes and I_min (height, width) in pixels."""

    folder: str
    name: str
    method: str
    seed: int
    epochs: int
    epochs_planned: int
    finished: bool
    accuracy: float
    best_accuracy: float
    best_epoch: int
    gmacs: float
    sizes: Mapping[str, tuple[int, int]]
    alphas: Mapping[str, Pair]
    i_min: Pair
    i_max: Pair | None
    unproductive: int | None
    seconds_per_epoch: float | None

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
            seed=run.seed,
            epochs=run.last.epoch,
            epochs_planned=run.epochs_planned,
            finished=run.finished,
            accuracy=accuracies[-1][0],
            best_accuracy=best,
            best_epoch=best_epoch,
            gmacs=run.last.gmacs,
            sizes=run.last.sizes,
            alphas=run.last.alphas,
            i_min=run.last.i_min,
            i_max=run.last.i_max,
            unproductive=run.last.unproductive,
            seconds_per_epoch=None if seconds is None else seconds.mean,
        )


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """All runs of one method: mean and sample standard deviation over its seeds, at each run's last finished epoch.

    `sizes` is the mean size of each resolution, None where the runs do not have the same resolutions.
    """

    method: str
    seeds: tuple[int, ...]
    unfinished: int
    accuracy: Spread
    best_accuracy: Spread
    gmacs: Spread
    i_min_h: Spread
    i_min_w: Spread
    unproductive: Spread | None
    seconds_per_epoch: Spread | None
    sizes: Mapping[str, Pair] | None

    @classmethod
    def of(cls, method: str, rows: Sequence[RunRow]) -> MethodRow:
        """The row of one method from the rows of its runs, of which there is at least one."""
        return cls(
            method=method,
            seeds=tuple(row.seed for row in rows),
            unfinished=sum(not row.finished for row in rows),
            accuracy=_spread(row.accuracy for row in rows),
            best_accuracy=_spread(row.best_accuracy for row in rows),
            gmacs=_spread(row.gmacs for row in rows),
            i_min_h=_spread(row.i_min[0] for row in rows),
            i_min_w=_spread(row.i_min[1] for row in rows),
            unproductive=Spread.of(row.unproductive for row in rows),
            seconds_per_epoch=Spread.of(row.seconds_per_epoch for row in rows),
            sizes=_mean_sizes(rows),
        )


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found. `str()` prints it, `to_dict()` gives plain data, `plot()` draws it.

    The headline accuracy is that of the final epoch, not of the best one: picking the best epoch by the test set would
    flatter whichever method fluctuates more. The best epoch is in the rows too.
    """

    runs: tuple[Run, ...]
    rows: tuple[RunRow, ...]
    methods: tuple[MethodRow, ...]
    headline: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return _tables(self)

    def to_dict(self) -> dict[str, object]:
        """The comparison as dictionaries, lists, strings and numbers (an infinite figure is float('inf'))."""
        return {
            "headline": self.headline,
            "notes": list(self.notes),
            "methods": [asdict(row) for row in self.methods],
            "runs": [asdict(row) for row in self.rows],
        }

    def to_csv(self) -> str:
        """The comparison as CSV text: a line per method (kind 'method', with _std), then one per run (kind 'run')."""
        return _summary(self)

    def plot(self) -> dict[str, Figure]:
        """The figures by name, in the order of the report; 'alphas' is there only if some run learns its sizes."""
        return draw(self.runs)


def compare_runs(run_folders: Sequence[Path | str]) -> Comparison:
    """The runs in `run_folders` side by side. A comparison's folder stands for all runs inside it.

    Raises:
        FileNotFoundError: if a folder, its config.yaml or its metrics.csv is missing.
        ValueError: if a folder is no run's, damaged, given twice or without a finished epoch; names it and says why.
    """
    runs = [read_run(folder) for folder in find_runs(run_folders)]
    # The human-designed network comes first: it is what the others are compared with.
    runs.sort(key=lambda run: (run.method != "human", run.method, run.seed, str(run.folder)))
    rows = [RunRow.of(run) for run in runs]
    names = list(dict.fromkeys(row.method for row in rows))
    methods = [MethodRow.of(name, [row for row in rows if row.method == name]) for name in names]
    return Comparison(
        runs=tuple(runs),
        rows=tuple(rows),
        methods=tuple(methods),
        headline=_headline(methods, rows),
        notes=tuple(_notes(runs, methods)),
    )


def number(value: float | None, digits: int = 1) -> str:
    """A figure with so many digits after the point; '-' if there is none, 'inf' if it is infinite."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def gmacs_digits(methods: Sequence[MethodRow]) -> int:
    """How many digits after the point give GMACs four significant ones, for the smallest of `methods`."""
    means = [row.gmacs.mean for row in methods if math.isfinite(row.gmacs.mean) and row.gmacs.mean > 0]
    return 3 if not means else max(0, min(9, 3 - math.floor(math.log10(min(means)))))


def show_size(size: Pair, digits: int = 0) -> str:
    """A size or receptive field as HxW."""
    return f"{number(size[0], digits)}x{number(size[1], digits)}"


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


def _headline(methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> str:
    digits = gmacs_digits(methods)
    ranked = sorted(methods, key=lambda row: -row.accuracy.mean)
    first = ranked[0]
    unfinished = sum(row.unfinished for row in methods)
    start = f"Preliminary, {unfinished} of {_plural(len(rows), 'run')} unfinished: " if unfinished else ""
    if len(ranked) == 1:
        return (
            f"{start}{first.method} reaches {_percent(first.accuracy)} final test accuracy"
            f" ({_plural(first.accuracy.n, 'run')}) at {first.gmacs.mean:.{digits}f} GMACs;"
            " there is no other method to compare it with."
        )
    second = ranked[1]
    gap = 100 * (first.accuracy.mean - second.accuracy.mean)
    other = f"{second.method}" if len(ranked) == 2 else f"the next best, {second.method},"
    figures = f"{_percent(first.accuracy)} against {_percent(second.accuracy)}"
    if first.accuracy.n == second.accuracy.n:
        figures += f", {_plural(first.accuracy.n, 'run')} each"
    else:
        figures += f", {_plural(first.accuracy.n, 'run')} against {second.accuracy.n}"
    if gap < 0.05:
        lead = f"{first.method} and {second.method} are level in final test accuracy ({figures})"
    else:
        lead = f"{first.method} is ahead of {other} by {gap:.1f} points of final test accuracy ({figures})"
    return f"{start}{lead}; {_verdict(first, second, gap)}. {_cost(first, second, digits)}"


def _verdict(first: MethodRow, second: MethodRow, gap: float) -> str:
    if first.accuracy.std is None or second.accuracy.std is None:
        few = [row.method for row in (first, second) if row.accuracy.std is None]
        return f"with a single run of {' and of '.join(few)} the spread is unknown, so this may be chance"
    spread = 100 * math.hypot(first.accuracy.std, second.accuracy.std)
    if gap > spread:
        return f"that is more than the spread between runs ({spread:.1f} points)"
    return f"that is within the spread between runs ({spread:.1f} points), so it may be chance"


def _cost(first: MethodRow, second: MethodRow, digits: int) -> str:
    mine, theirs = first.gmacs.mean, second.gmacs.mean
    figures = f"{number(mine, digits)} against {number(theirs, digits)}"
    if not (math.isfinite(mine) and math.isfinite(theirs) and theirs > 0):
        return f"GMACs: {figures}."
    ratio = mine / theirs
    if f"{ratio:.2f}" == "1.00":
        return f"Both need the same GMACs ({figures})."
    return f"{first.method} needs {ratio:.2f} times the GMACs of {second.method} ({figures})."


def _notes(runs: Sequence[Run], methods: Sequence[MethodRow]) -> list[str]:
    notes = [f"{run.folder.name}: {note}" for run in runs for note in run.notes]
    notes += [
        f"{run.folder.name}: unfinished, epoch {run.last.epoch} of {run.epochs_planned}; its figures are of that epoch"
        for run in runs
        if not run.finished
    ]
    settings = [_flat(run.config) for run in runs]
    for key in dict.fromkeys(key for setting in settings for key in setting):
        values = dict.fromkeys(str(setting.get(key)) for setting in settings)
        if len(values) > 1 and key not in MAY_DIFFER:
            notes.append(f"the runs differ in {key} ({' / '.join(values)}): not like with like")
    for row in methods:
        twice = sorted({seed for seed in row.seeds if row.seeds.count(seed) > 1})
        notes += [f"{row.method} has several runs with seed {seed}: each counts as a run" for seed in twice]
    if len({tuple(sorted(row.seeds)) for row in methods}) > 1:
        notes.append("the methods were not run with the same seeds")
    return notes


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """The settings of all sections as 'section.key'."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _percent(accuracy: Spread) -> str:
    shown = f"{100 * accuracy.mean:.1f} %"
    return shown if accuracy.std is None else f"{shown} ± {100 * accuracy.std:.1f}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _tables(comparison: Comparison) -> str:
    digits = gmacs_digits(comparison.methods)
    methods = [["method", "runs", "accuracy %", "best %", "GMACs", "I_min h", "I_min w", "unproductive", "s/epoch"]]
    for row in comparison.methods:
        methods.append(
            [
                row.method,
                str(row.accuracy.n),
                row.accuracy.show(1, 100),
                row.best_accuracy.show(1, 100),
                row.gmacs.show(digits),
                row.i_min_h.show(),
                row.i_min_w.show(),
                "-" if row.unproductive is None else row.unproductive.show(),
                "-" if row.seconds_per_epoch is None else row.seconds_per_epoch.show(),
            ]
        )
    runs = [["method", "seed", "epochs", "accuracy %", "best % (epoch)", "GMACs", "I_min", "unproductive", "sizes"]]
    for run in comparison.rows:
        runs.append(
            [
                run.method,
                str(run.seed),
                f"{run.epochs}/{run.epochs_planned}" + ("" if run.finished else " unfinished"),
                number(100 * run.accuracy),
                f"{number(100 * run.best_accuracy)} ({run.best_epoch})",
                number(run.gmacs, digits),
                show_size(run.i_min, 1),
                "-" if run.unproductive is None else str(run.unproductive),
                " ".join(show_size(size) for size in run.sizes.values()),
            ]
        )
    parts = [
        comparison.headline,
        "",
        *_columns(methods, left={0}),
        "",
        *_columns(runs, left={0, 8}),
        "",
        "accuracy: test accuracy of the final epoch; ±: standard deviation over runs; I_min and sizes: height x width",
    ]
    parts += [f"note: {note}" for note in comparison.notes]
    return "\n".join(parts)


def _columns(table: Sequence[Sequence[str]], left: set[int]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


FIGURES = ("accuracy", "best_accuracy", "gmacs", "i_min_h", "i_min_w", "unproductive", "seconds_per_epoch")


def _summary(comparison: Comparison) -> str:
    head = ["kind", "method", "seed", "runs", "epochs", "epochs_planned", "finished"]
    columns = [*head, *(name for figure in FIGURES for name in (figure, f"{figure}_std")), "sizes", "folder"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in comparison.methods:
        cells: dict[str, object] = {"kind": "method", "method": row.method, "runs": row.accuracy.n}
        cells["finished"] = str(row.unfinished == 0).lower()
        for figure in FIGURES:
            spread: Spread | None = getattr(row, figure)
            cells[figure] = _cell(None if spread is None else spread.mean)
            cells[f"{figure}_std"] = _cell(None if spread is None else spread.std)
        cells["sizes"] = "" if row.sizes is None else _json(row.sizes)
        writer.writerow(cells)
    for run in comparison.rows:
        values = (run.accuracy, run.best_accuracy, run.gmacs, *run.i_min, run.unproductive, run.seconds_per_epoch)
        writer.writerow(
            {
                "kind": "run",
                "method": run.method,
                "seed": run.seed,
                "runs": 1,
                "epochs": run.epochs,
                "epochs_planned": run.epochs_planned,
                "finished": str(run.finished).lower(),
                **{figure: _cell(value) for figure, value in zip(FIGURES, values, strict=True)},
                "sizes": _json(run.sizes),
                "folder": Path(run.folder).name,
            }
        )
    return buffer.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _json(sizes: Mapping[str, Pair]) -> str:
    return json.dumps({name: [round(height, 3), round(width, 3)] for name, (height, width) in sizes.items()})
