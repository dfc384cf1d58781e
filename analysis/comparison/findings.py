"""What the figures of compared runs say, in words: who is ahead, at what cost, and whether it may be chance.

Runs of one seed share their initial weights, data order and augmentation, so that differences between methods are taken
seed by seed, and their mean is tested with Student's t for paired samples; as several methods are compared with one, p
values are corrected by Holm's method.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import scipy.stats

from ..common.cost_unit import CostUnit, cost_unit
from ..common.statistics import number, pareto_front, percent, plural
from .read_runs import Run
from .rows import MethodRow, RunRow

__all__ = ["Difference", "difference", "findings", "headline", "holm", "notes", "nothing_learned"]

LEVEL = 0.05
BUDGET_TOLERANCE = 0.02  # the part of a budget of GMACs that training promises not to miss it by

# The keys of config.yaml in which compared runs may differ: what is compared, and where and how it ran.
MAY_DIFFER = frozenset(
    {"name", "method", "seed", "out", "device", "threads", "checkpoint_every", "grid_point"}
    | {"data.root", "data.download", "data.cache"}
)


def headline(methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> str:
    unit = cost_unit(row.gmacs.mean for row in methods)
    ranked = sorted(methods, key=lambda row: -row.accuracy.mean)
    first = ranked[0]
    unfinished = sum(row.unfinished for row in methods)
    start = f"Preliminary, {unfinished} of {plural(len(rows), 'run')} unfinished: " if unfinished else ""
    if len(ranked) == 1:
        return (
            f"{start}{first.group} reaches {percent(first.accuracy)} final test accuracy"
            f" ({plural(first.accuracy.n, 'run')}) at {unit.show(first.gmacs.mean)} {unit.name};"
            " there is no other method to compare it with."
        )
    second = ranked[1]
    gap = 100 * (first.accuracy.mean - second.accuracy.mean)
    other = f"{second.group}" if len(ranked) == 2 else f"the next best, {second.group},"
    figures = f"{percent(first.accuracy)} against {percent(second.accuracy)}"
    if first.accuracy.n == second.accuracy.n:
        figures += f", {plural(first.accuracy.n, 'run')} each"
    else:
        figures += f", {plural(first.accuracy.n, 'run')} against {second.accuracy.n}"
    if gap < 0.05:
        lead = f"{first.group} and {second.group} are level in final test accuracy ({figures})"
    else:
        lead = f"{first.group} is ahead of {other} by {gap:.1f} points of final test accuracy ({figures})"
    return f"{start}{lead}; {_verdict(first, second, gap)}. {_cost(first, second, unit)}"


@dataclass(frozen=True)
class Difference:
    """By how much a group's final test accuracy differs from another's, seed by seed.

    Attributes:
        group: the one.
        than: the other.
        mean: mean difference as a fraction.
        low, high: 95 % confidence interval of the mean; None with fewer than two seeds in common, or no spread at all.
        p: two-sided p value of the mean being zero; None likewise.
        n: seeds in common.
    """

    group: str
    than: str
    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int


def difference(rows: Sequence[RunRow], group: str, than: str) -> Difference | None:
    """The paired difference over the seeds that both groups have once; None if there is no such seed."""
    one, other = _by_seed(rows, group), _by_seed(rows, than)
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    differences = [one[seed] - other[seed] for seed in seeds]
    mean = statistics.fmean(differences)
    if len(seeds) < 2 or max(differences) - min(differences) < 1e-9:  # equal but for rounding
        return Difference(group, than, mean, None, None, None, len(seeds))
    test = scipy.stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    return Difference(group, than, mean, float(interval.low), float(interval.high), float(test.pvalue), len(seeds))


def _by_seed(rows: Sequence[RunRow], group: str) -> dict[int, float]:
    mine = [row for row in rows if row.group == group]
    seeds = [row.seed for row in mine]
    return {row.seed: row.accuracy for row in mine if seeds.count(row.seed) == 1}


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values for their number, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected


def findings(methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> list[str]:
    """What the figures show, and what they do not, sentence by sentence, beside the first method."""
    if len(methods) < 2:
        return []
    first = _base(methods)
    base, others = first.group, [row for row in methods if row is not first]
    found = [difference(rows, row.group, base) for row in others]
    known = [d.p for d in found if d is not None and d.p is not None]
    corrected = iter(holm(known))
    told = []
    significant = []
    for row, d in zip(others, found, strict=True):
        ratio = row.gmacs.mean / first.gmacs.mean if first.gmacs.mean > 0 else math.nan
        cost = f"at {number(ratio, 2)} times its GMACs" if math.isfinite(ratio) else "at GMACs that cannot be compared"
        if d is None:
            told.append(f"{row.group} and {base} have no seed in common, so they are not compared seed by seed.")
            continue
        gap = f"{row.group} {_signed(100 * d.mean)} points against {base} {cost}"
        if d.p is None or d.low is None or d.high is None:
            why = "one seed" if d.n < 2 else "every seed gives the same difference"
            told.append(f"{gap}: {why}, so nothing can be said about chance.")
            continue
        p = next(corrected)
        if p < LEVEL:
            significant.append(row.group)
        told.append(
            f"{gap} (95 % interval {_signed(100 * d.low)} to {_signed(100 * d.high)}, {d.n} seeds, p = {p:.2g})."
        )
    if known:
        count = plural(len(known), "comparison")
        who = f"that holds for {', '.join(significant)}" if significant else "that holds for none of them"
        told.append(
            f"A difference counts as more than chance where p, corrected for {count} (Holm), is below {LEVEL:g}: {who}."
        )
    best = pareto_front([(row.gmacs.mean, row.accuracy.mean) for row in methods])
    told.append(f"On the Pareto front of mean accuracy against GMACs: {', '.join(methods[i].group for i in best)}.")
    told += _budgets(rows)
    told.append(
        "Not shown: other networks, data, budgets or learning rates than these; and where settings were chosen by"
        " looking at these test images, the figures flatter."
    )
    return told


def _base(methods: Sequence[MethodRow]) -> MethodRow:
    """What the others are held to: of the first method the group at the resolution that most groups have."""
    resolutions = [row.i_res for row in methods]
    usual = max(dict.fromkeys(resolutions), key=resolutions.count)
    return next((row for row in methods if row.method == methods[0].method and row.i_res == usual), methods[0])


def _missed(rows: Sequence[RunRow]) -> list[tuple[RunRow, float]]:
    """The runs that miss their budget of GMACs, each with the part that they miss it by."""
    found = [(row, row.off_budget) for row in rows if row.off_budget is not None]
    return [(row, off) for row, off in found if not abs(off) <= BUDGET_TOLERANCE]


def _budgets(rows: Sequence[RunRow]) -> list[str]:
    """Whether runs that were given a budget of GMACs keep it."""
    given = [row for row in rows if row.gmacs_budget is not None]
    if not given:
        return []
    missed = ", ".join(f"{row.group}, seed {row.seed}" for row, _ in _missed(given))
    who = f"these do not: {missed}" if missed else "all do"
    asked = f"To cost within {100 * BUDGET_TOLERANCE:g} % of its gmacs_budget was asked of"
    return [f"{asked} {plural(len(given), 'run')}: {who}."]


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")


def _verdict(first: MethodRow, second: MethodRow, gap: float) -> str:
    if first.accuracy.std is None or second.accuracy.std is None:
        few = [row.group for row in (first, second) if row.accuracy.std is None]
        return f"with a single run of {' and of '.join(few)} the spread is unknown, so this may be chance"
    spread = 100 * math.hypot(first.accuracy.std, second.accuracy.std)
    if gap > spread:
        return f"that is more than the spread between runs ({spread:.1f} points)"
    return f"that is within the spread between runs ({spread:.1f} points), so it may be chance"


def _cost(first: MethodRow, second: MethodRow, unit: CostUnit) -> str:
    mine, theirs = first.gmacs.mean, second.gmacs.mean
    figures = f"{unit.show(mine)} against {unit.show(theirs)}"
    if not (math.isfinite(mine) and math.isfinite(theirs) and theirs > 0):
        return f"{unit.name}: {figures}."
    ratio = mine / theirs
    if f"{ratio:.2f}" == "1.00":
        return f"Both need the same {unit.name} ({figures})."
    return f"{first.group} needs {ratio:.2f} times the {unit.name} of {second.group} ({figures})."


def nothing_learned(runs: Sequence[Run]) -> str:
    """Which groups have alphas, but in every run the same sizes after all training as before it; empty if none."""
    moved: dict[str, bool] = {}
    for run in runs:
        if run.last.alphas and run.trained:
            still = all(row.sizes == run.history[0].sizes for row in run.history)
            moved[run.group] = moved.get(run.group, False) or not still
    groups = [group for group, any_moved in moved.items() if not any_moved]
    if not groups:
        return ""
    return f"No size was learned by {', '.join(groups)}: every feature map kept the size that training began with."


def notes(runs: Sequence[Run], methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> list[str]:
    """What a reader must know before comparing the figures."""
    notes = [f"{run.folder.name}: {note}" for run in runs for note in run.notes]
    unverified = [run.folder.name for run in runs if not run.verified]
    if unverified:
        named = "all runs" if len(unverified) == len(runs) else ", ".join(unverified)
        notes.append(f"not verified, as an earlier version wrote them without checksums: {named}")
    notes += [
        f"{run.folder.name}: unfinished, epoch {run.last.epoch} of {run.epochs_planned}; its figures are of that epoch"
        for run in runs
        if not run.finished
    ]
    notes += [
        f"{Path(row.folder).name}: costs {row.gmacs:.4g} GMACs, which misses its gmacs_budget of {row.gmacs_budget:g}"
        f" by {_signed(100 * off)} %"
        for row, off in _missed(rows)
    ]
    settings = [_flat(run.config) for run in runs]
    varied = {part.partition("=")[0] for run in runs for part in run.grid_point.split()}
    varied |= {"input_size"} if "data.resolution" in varied else set()
    for key in dict.fromkeys(key for setting in settings for key in setting):
        values = dict.fromkeys(str(setting.get(key)) for setting in settings)
        if len(values) > 1 and key not in MAY_DIFFER | varied:
            notes.append(f"the runs differ in {key} ({' / '.join(values)}): not like with like")
    for row in methods:
        twice = sorted({seed for seed in row.seeds if row.seeds.count(seed) > 1})
        notes += [f"{row.group} has several runs with seed {seed}: each counts as a run" for seed in twice]
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
