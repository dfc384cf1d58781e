"""What the figures of compared runs say, in words: who is ahead, at what cost, and whether it may be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .comparison_rows import MethodRow, RunRow, gmacs_digits
from .runs import Run
from .spread import number, percent, plural

__all__ = ["headline", "notes"]

# The keys of config.yaml in which compared runs may differ: what is compared, and where and how it ran.
MAY_DIFFER = frozenset(
    {"name", "method", "seed", "out", "device", "threads", "checkpoint_every", "grid_point"}
    | {"data.root", "data.download", "data.cache"}
)


def headline(methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> str:
    digits = gmacs_digits(methods)
    ranked = sorted(methods, key=lambda row: -row.accuracy.mean)
    first = ranked[0]
    unfinished = sum(row.unfinished for row in methods)
    start = f"Preliminary, {unfinished} of {plural(len(rows), 'run')} unfinished: " if unfinished else ""
    if len(ranked) == 1:
        return (
            f"{start}{first.method} reaches {percent(first.accuracy)} final test accuracy"
            f" ({plural(first.accuracy.n, 'run')}) at {first.gmacs.mean:.{digits}f} GMACs;"
            " there is no other method to compare it with."
        )
    second = ranked[1]
    gap = 100 * (first.accuracy.mean - second.accuracy.mean)
    other = f"{second.method}" if len(ranked) == 2 else f"the next best, {second.method},"
    figures = f"{percent(first.accuracy)} against {percent(second.accuracy)}"
    if first.accuracy.n == second.accuracy.n:
        figures += f", {plural(first.accuracy.n, 'run')} each"
    else:
        figures += f", {plural(first.accuracy.n, 'run')} against {second.accuracy.n}"
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


def notes(runs: Sequence[Run], methods: Sequence[MethodRow]) -> list[str]:
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
