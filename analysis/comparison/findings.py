"""Findings in sentences: which method is more accurate, at what cost, and what the paired tests show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..common.cost_unit import CostUnit, cost_unit
from ..common.statistics import format_accuracy, pareto_front, plural
from .pairs import PairRow, margin_text, signed
from .read_runs import Run
from .rows import MethodRow, RunRow, metric_name

__all__ = ["findings", "headline", "missed_budgets", "notes", "nothing_learned"]

HELD = frozenset({"fixed", "random", "scaled"})  # methods whose sizes are given and stay
LEVEL_GAP = 0.05  # points: smaller gaps round to 0.0
BUDGET_TOLERANCE = 0.02  # training keeps GMACs within this fraction of the budget

# Keys of config.yaml that may differ between compared runs without a note.
MAY_DIFFER = frozenset(
    {"name", "method", "seed", "out", "device", "threads", "checkpoint_every", "grid_point"}
    | {"gmacs_budget.match", "gmacs_budget.gmacs", "start_gmacs"}
    | {"data.root", "data.download", "data.cache"}
)


def headline(methods: Sequence[MethodRow], rows: Sequence[RunRow], pairs: Sequence[PairRow]) -> str:
    """The two most accurate methods, the gap between them, whether it may be chance, and their costs."""
    unit = cost_unit(row.gmacs.mean for row in methods)
    metric = f"final {metric_name(rows)}"
    ranked = sorted(methods, key=lambda row: -row.score.mean)
    first = ranked[0]
    unfinished = sum(row.unfinished for row in methods)
    start = f"Preliminary, {unfinished} of {plural(len(rows), 'run')} unfinished: " if unfinished else ""
    if len(ranked) == 1:
        return (
            f"{start}{first.group} reaches {format_accuracy(first.score)} {metric}"
            f" ({plural(first.score.n, 'run')}) at {unit.show(first.gmacs.mean)} {unit.name};"
            " there is no other method to compare it with."
        )
    second = ranked[1]
    gap = 100 * (first.score.mean - second.score.mean)
    other = f"{second.group}" if len(ranked) == 2 else f"the next best, {second.group},"
    figures = f"{format_accuracy(first.score)} against {format_accuracy(second.score)}"
    if first.score.n == second.score.n:
        figures += f", {plural(first.score.n, 'run')} each"
    else:
        figures += f", {plural(first.score.n, 'run')} against {second.score.n}"
    if gap < LEVEL_GAP:
        lead = f"{first.group} and {second.group} are level in {metric} ({figures})"
    else:
        lead = f"{first.group} is ahead of {other} by {gap:.1f} points of {metric} ({figures})"
    verdict = _tested(first, second, gap, pairs) or _untested(first, second, gap) + _against_baseline(first, pairs)
    return f"{start}{lead}; {verdict}. {_cost(first, second, unit)}"


def findings(methods: Sequence[MethodRow], rows: Sequence[RunRow], pairs: Sequence[PairRow]) -> list[str]:
    """Sentences on the paired tests, the Pareto front, the budgets, and the limits of the results."""
    if len(methods) < 2:
        return []
    front = pareto_front([(row.gmacs.mean, row.score.mean) for row in methods])
    metric = methods[0].metric
    images = metric_name(rows).removesuffix(metric.name).strip() or "test"
    return [
        *_decisions(pairs),
        f"On the Pareto front of mean {metric.name} against GMACs: {', '.join(methods[i].group for i in front)}.",
        *_budgets(rows),
        "These results hold for these networks, data, budgets and learning rates only. If settings were chosen on these"
        f" {images} images, the {metric.plural} are optimistic.",
    ]


def _decisions(pairs: Sequence[PairRow]) -> list[str]:
    """Sentences on the pairs that differ, that are equivalent, and that are undecided."""
    sentences = []
    for pair in pairs:
        test = pair.test
        if pair.better is None or test is None or test.low is None or test.high is None:
            continue
        word = "better" if pair.better else "worse"
        sentences.append(
            f"{pair.group} is {word} than {pair.baseline} by {100 * abs(test.mean):.1f} points (95 % interval"
            f" {signed(100 * test.low)} to {signed(100 * test.high)}, {test.n} seeds, p = {pair.p_corrected:.2g})."
        )
    equivalent = [f"{p.group} and {p.baseline}" for p in pairs if p.equivalent]
    if equivalent:
        sentences.append(f"Equivalent within {margin_text(pairs[0].margin)}: {', '.join(equivalent)}.")
    undecided = [f"{p.group} against {p.baseline}" for p in pairs if p.better is None and not p.equivalent]
    if undecided:
        sentences.append(f"Not decided: {', '.join(undecided)}.")
    return sentences


def missed_budgets(rows: Sequence[RunRow]) -> list[tuple[RunRow, float]]:
    """The runs that miss their budget of GMACs by more than 2 %, each with its relative deviation."""
    found = [(row, row.off_budget) for row in rows if row.off_budget is not None]
    return [(row, off) for row, off in found if not abs(off) <= BUDGET_TOLERANCE]


def _budgets(rows: Sequence[RunRow]) -> list[str]:
    """A sentence on the runs that miss their budget of GMACs; an empty list if no run has a budget."""
    given = [row for row in rows if row.gmacs_budget is not None]
    if not given:
        return []
    missed = ", ".join(f"{row.group}, seed {row.seed}" for row, _ in missed_budgets(given))
    tolerance = f"{100 * BUDGET_TOLERANCE:g} %"
    result = f"missed by more than {tolerance}: {missed}" if missed else f"none is missed by more than {tolerance}"
    return [f"{plural(len(given), 'run')} with a gmacs_budget; {result}."]


def _tested(first: MethodRow, second: MethodRow, gap: float, pairs: Sequence[PairRow]) -> str:
    """What the paired test of the two says; empty if they were not tested."""
    pair = _pair(first.group, pairs, second.group)
    if pair is None:
        return ""
    if pair.better is None and not pair.equivalent and gap < LEVEL_GAP:
        return f"a difference either way is not ruled out ({pair.interval(first.group)})"
    return _decision(pair, first.group)


def _pair(group: str, pairs: Sequence[PairRow], other: str = "") -> PairRow | None:
    """The first tested pair of a group: with another one, or with its baseline."""
    for pair in pairs:
        meant = {pair.group, pair.baseline} == {group, other} if other else pair.group == group
        if meant and pair.detectable is not None:
            return pair
    return None


def _decision(pair: PairRow, group: str) -> str:
    """What the test of a pair says of the difference that was just named."""
    within = f"equivalent within {margin_text(pair.margin)}"
    if pair.better is not None:
        but = f", but they are {within}" if pair.equivalent else ""
        return f"by the paired test that is not chance{but} ({pair.interval(group)})"
    if pair.equivalent:
        return f"by the paired test they are {within} ({pair.interval(group)})"
    return f"whether that is chance is not decided ({pair.interval(group)})"


def _against_baseline(first: MethodRow, pairs: Sequence[PairRow]) -> str:
    """How the best method does against its own baseline, where it was tested against another than the second best."""
    pair = _pair(first.group, pairs)
    if pair is None or pair.test is None:
        return ""
    points = signed(100 * pair.test.mean)
    return f". Against {pair.baseline} it has {points} points; {_decision(pair, first.group)}"


def _untested(first: MethodRow, second: MethodRow, gap: float) -> str:
    """Whether the gap may be chance, by the spread between runs alone."""
    if first.score.std is None or second.score.std is None:
        single = [row.group for row in (first, second) if row.score.std is None]
        return f"with a single run of {' and of '.join(single)} the spread is unknown, so this may be chance"
    spread = 100 * math.hypot(first.score.std, second.score.std)
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
    """A sentence that names the groups with alphas whose sizes did not change in any run; empty if there are none."""
    changed: dict[str, bool] = {}
    for run in runs:
        if run.last.alphas and run.trained and run.method not in HELD:
            constant = all(row.sizes == run.history[0].sizes for row in run.history)
            changed[run.group] = changed.get(run.group, False) or not constant
    groups = [group for group, any_changed in changed.items() if not any_changed]
    if not groups:
        return ""
    return f"No size changed during training with {', '.join(groups)}: every feature map kept its initial size."


def notes(runs: Sequence[Run], methods: Sequence[MethodRow], rows: Sequence[RunRow]) -> list[str]:
    """What to know before comparing the figures: unfinished runs, missed budgets, differing settings and the like."""
    notes = [f"{run.folder.name}: {note}" for run in runs for note in run.notes]
    if any(run.validation is not None for run in runs):
        shares = ", ".join(dict.fromkeys(f"{run.validation:g}" for run in runs if run.validation is not None))
        notes.append(
            f"{runs[0].metric.name} is that on validation images, held out of the training images"
            f" (data.validation: {shares}); the test images were not used"
        )
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
        f" by {signed(100 * off)} %"
        for row, off in missed_budgets(rows)
    ]
    notes += _initial_sizes(runs) + _outdated_matches(rows)
    settings = [_flat(run.config) for run in runs]
    varied = {part.partition("=")[0] for run in runs for part in run.grid_point.split()}
    varied |= {"input_size"} if "data.resolution" in varied else set()
    for key in dict.fromkeys(key for setting in settings for key in setting):
        values = dict.fromkeys(str(setting.get(key)) for setting in settings)
        if len(values) > 1 and key not in MAY_DIFFER | varied and key.partition(".")[0] != "start":
            notes.append(f"the runs differ in {key} ({' / '.join(values)}), so they are not directly comparable")
    for row in methods:
        twice = sorted({seed for seed in row.seeds if row.seeds.count(seed) > 1})
        notes += [f"{row.group} has several runs with seed {seed}; all are counted" for seed in twice]
    if len({tuple(sorted(row.seeds)) for row in methods}) > 1:
        notes.append("the methods were not run with the same seeds")
    return notes


def _initial_sizes(runs: Sequence[Run]) -> list[str]:
    """A note on the groups that do not start at the designed sizes, unless their names say so."""
    configured = {run.group: run.config.get("start", "designed") for run in runs}
    starts = {group: start if isinstance(start, str) else "given" for group, start in configured.items()}
    named = {group: start for group, start in starts.items() if start != "designed" and " start=" not in group}
    listed = ", ".join(f"{group} {start}" for group, start in named.items())
    return [f"initial sizes: {listed}; as designed for all others"] if listed else []


def _outdated_matches(rows: Sequence[RunRow]) -> list[str]:
    """Notes on runs whose budget is no longer the cost of the run they match, as that was trained again."""
    costs = {(row.group, row.seed): row.gmacs for row in rows if row.finished}
    found = []
    for row in rows:
        now = costs.get((row.matches or "", row.seed))
        if now is not None and row.gmacs_budget != now:
            found.append(
                f"{Path(row.folder).name}: its gmacs_budget of {row.gmacs_budget:.4g} is what {row.matches}, seed"
                f" {row.seed}, cost when it was started; that run now costs {now:.4g} GMACs"
            )
    return found


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings flattened to 'section.key'."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
