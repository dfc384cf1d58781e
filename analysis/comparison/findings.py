"""Findings in sentences: which method is more accurate, at what cost, and whether the difference is significant.

Runs of one seed share their initial weights, data order and augmentation. So differences between methods are taken seed
by seed, and their mean is tested with a paired Student's t-test. As several methods are compared with one, p values are
corrected by Holm's method.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import scipy.stats

from ..common.cost_unit import CostUnit, cost_unit
from ..common.statistics import format_accuracy, format_number, pareto_front, plural
from .read_runs import Run
from .rows import MethodRow, RunRow

__all__ = ["Difference", "difference", "findings", "headline", "holm", "notes", "nothing_learned"]

LEVEL = 0.05
BUDGET_TOLERANCE = 0.02  # training keeps GMACs within this fraction of the budget

# Keys of config.yaml that may differ between compared runs without a note.
MAY_DIFFER = frozenset(
    {"name", "method", "seed", "out", "device", "threads", "checkpoint_every", "grid_point"}
    | {"data.root", "data.download", "data.cache"}
)


def headline(methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> str:
    """The two most accurate methods, the gap between them, and their costs, in one or two sentences."""
    unit = cost_unit(row.gmacs.mean for row in methods)
    ranked = sorted(methods, key=lambda row: -row.accuracy.mean)
    first = ranked[0]
    unfinished = sum(row.unfinished for row in methods)
    start = f"Preliminary, {unfinished} of {plural(len(rows), 'run')} unfinished: " if unfinished else ""
    if len(ranked) == 1:
        return (
            f"{start}{first.group} reaches {format_accuracy(first.accuracy)} final test accuracy"
            f" ({plural(first.accuracy.n, 'run')}) at {unit.show(first.gmacs.mean)} {unit.name};"
            " there is no other method to compare it with."
        )
    second = ranked[1]
    gap = 100 * (first.accuracy.mean - second.accuracy.mean)
    other = f"{second.group}" if len(ranked) == 2 else f"the next best, {second.group},"
    figures = f"{format_accuracy(first.accuracy)} against {format_accuracy(second.accuracy)}"
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
    """The paired difference in final test accuracy between two groups, seed by seed.

    Attributes:
        group: the group whose accuracy is the minuend.
        baseline: the group it is compared with.
        mean: mean of `group` minus `baseline`, as a fraction.
        low, high: 95 % confidence interval of the mean; None with fewer than two common seeds, or equal differences.
        p: two-sided p value for a mean of zero; None in the same cases.
        n: number of common seeds.
    """

    group: str
    baseline: str
    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int


def difference(rows: Sequence[RunRow], group: str, baseline: str) -> Difference | None:
    """The paired difference over the seeds that both groups have exactly once; None if there is no such seed."""
    one, other = _accuracy_by_seed(rows, group), _accuracy_by_seed(rows, baseline)
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    differences = [one[seed] - other[seed] for seed in seeds]
    mean = statistics.fmean(differences)
    if len(seeds) < 2 or max(differences) - min(differences) < 1e-9:  # equal up to rounding
        return Difference(group, baseline, mean, None, None, None, len(seeds))
    test = scipy.stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    return Difference(group, baseline, mean, float(interval.low), float(interval.high), float(test.pvalue), len(seeds))


def _accuracy_by_seed(rows: Sequence[RunRow], group: str) -> dict[int, float]:
    mine = [row for row in rows if row.group == group]
    seeds = [row.seed for row in mine]
    return {row.seed: row.accuracy for row in mine if seeds.count(row.seed) == 1}


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values after Holm's step-down correction for multiple comparisons, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected


def findings(methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> list[str]:
    """One sentence per comparison with the baseline, then significance, Pareto front, budgets and limits."""
    if len(methods) < 2:
        return []
    first = _baseline(methods)
    base, others = first.group, [row for row in methods if row is not first]
    found = [difference(rows, row.group, base) for row in others]
    known = [d.p for d in found if d is not None and d.p is not None]
    corrected = iter(holm(known))
    sentences = []
    significant = []
    for row, d in zip(others, found, strict=True):
        ratio = row.gmacs.mean / first.gmacs.mean if first.gmacs.mean > 0 else math.nan
        cost = (
            f"at {format_number(ratio, 2)} times its GMACs"
            if math.isfinite(ratio)
            else "at GMACs that cannot be compared"
        )
        if d is None:
            sentences.append(f"{row.group} and {base} have no seed in common, so they are not compared seed by seed.")
            continue
        gap = f"{row.group} {_signed(100 * d.mean)} points against {base} {cost}"
        if d.p is None or d.low is None or d.high is None:
            reason = "only one seed in common" if d.n < 2 else "every seed gives the same difference"
            sentences.append(f"{gap} ({reason}, so significance cannot be tested).")
            continue
        p = next(corrected)
        if p < LEVEL:
            significant.append(row.group)
        sentences.append(
            f"{gap} (95 % interval {_signed(100 * d.low)} to {_signed(100 * d.high)}, {d.n} seeds, p = {p:.2g})."
        )
    if known:
        count = plural(len(known), "comparison")
        who = ", ".join(significant) or "none"
        sentences.append(f"Significant differences (p < {LEVEL:g}, Holm-corrected for {count}): {who}.")
    best = pareto_front([(row.gmacs.mean, row.accuracy.mean) for row in methods])
    sentences.append(
        f"On the Pareto front of mean accuracy against GMACs: {', '.join(methods[i].group for i in best)}."
    )
    sentences += _budgets(rows)
    sentences.append(
        "These results hold for these networks, data, budgets and learning rates only. If settings were chosen on these"
        " test images, the accuracies are optimistic."
    )
    return sentences


def _baseline(methods: Sequence[MethodRow]) -> MethodRow:
    """The group that the others are compared with: of the first method, the one at the most common resolution."""
    resolutions = [row.i_res for row in methods]
    usual = max(dict.fromkeys(resolutions), key=resolutions.count)
    return next((row for row in methods if row.method == methods[0].method and row.i_res == usual), methods[0])


def _missed_budgets(rows: Sequence[RunRow]) -> list[tuple[RunRow, float]]:
    """The runs that miss their budget of GMACs, each with its relative deviation."""
    found = [(row, row.off_budget) for row in rows if row.off_budget is not None]
    return [(row, off) for row, off in found if not abs(off) <= BUDGET_TOLERANCE]


def _budgets(rows: Sequence[RunRow]) -> list[str]:
    """A sentence on which runs miss their budget of GMACs; empty if none has one."""
    given = [row for row in rows if row.gmacs_budget is not None]
    if not given:
        return []
    missed = ", ".join(f"{row.group}, seed {row.seed}" for row, _ in _missed_budgets(given))
    tolerance = f"{100 * BUDGET_TOLERANCE:g} %"
    who = f"missed by more than {tolerance}: {missed}" if missed else f"none is missed by more than {tolerance}"
    return [f"{plural(len(given), 'run')} with a gmacs_budget; {who}."]


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
    """A sentence that names the groups with alphas whose sizes changed in no run; empty if there are none."""
    moved: dict[str, bool] = {}
    for run in runs:
        if run.last.alphas and run.trained:
            still = all(row.sizes == run.history[0].sizes for row in run.history)
            moved[run.group] = moved.get(run.group, False) or not still
    groups = [group for group, any_moved in moved.items() if not any_moved]
    if not groups:
        return ""
    return f"No size changed during training with {', '.join(groups)}: every feature map kept its initial size."


def notes(runs: Sequence[Run], methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> list[str]:
    """What to know before comparing the figures: unfinished runs, missed budgets, differing settings and the like."""
    notes = [f"{run.folder.name}: {note}" for run in runs for note in run.notes]
    unverified = [run.folder.name for run in runs if not run.verified]
    if unverified:
        named = "all runs" if len(unverified) == len(runs) else ", ".join(unverified)
        notes.append(f"not verified, written by an earlier version without checksums: {named}")
    notes += [
        f"{run.folder.name}: unfinished, epoch {run.last.epoch} of {run.epochs_planned}; its figures are of that epoch"
        for run in runs
        if not run.finished
    ]
    notes += [
        f"{Path(row.folder).name}: costs {row.gmacs:.4g} GMACs, missing its gmacs_budget of {row.gmacs_budget:g}"
        f" by {_signed(100 * off)} %"
        for row, off in _missed_budgets(rows)
    ]
    settings = [_flat(run.config) for run in runs]
    varied = {part.partition("=")[0] for run in runs for part in run.grid_point.split()}
    varied |= {"input_size"} if "data.resolution" in varied else set()
    for key in dict.fromkeys(key for setting in settings for key in setting):
        values = dict.fromkeys(str(setting.get(key)) for setting in settings)
        if len(values) > 1 and key not in MAY_DIFFER | varied:
            notes.append(f"the runs differ in {key} ({' / '.join(values)}), so they are not directly comparable")
    for row in methods:
        twice = sorted({seed for seed in row.seeds if row.seeds.count(seed) > 1})
        notes += [f"{row.group} has several runs with seed {seed}; all are counted" for seed in twice]
    if len({tuple(sorted(row.seeds)) for row in methods}) > 1:
        notes.append("the methods were not run with the same seeds")
    return notes


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings flattened to 'section.key'."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
