"""Pairs of methods: how far their scores differ, and whether the seeds suffice to call that more than chance.

A method is called better only if the corrected test says so, equivalent only if the corrected test of equivalence does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..common.statistics import format_number
from .paired_tests import LEVEL, PairedTest, detectable_difference, holm, paired_test
from .rows import MethodRow, RunRow

__all__ = ["HEADS", "PairRow", "margin_text", "pair_rows", "signed"]

HEADS = ("pair", "seeds", "difference", "95 % interval", "d_z", "p", "p equiv.", "GMACs", "verdict")


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """The metric of one group against that of another; differences are fractions, `group` minus `baseline`.

    Attributes:
        group, baseline: the two groups of runs.
        test: the tests over the common seeds; None without a common seed.
        p_corrected: p of the difference after Holm's correction over all pairs; None if it was not tested.
        p_equivalence_corrected: p of the equivalence, corrected likewise.
        margin: the differences below it count as equivalent.
        detectable: the smallest difference that is found with a power of 80 % at this spread and number of seeds.
        gmacs_ratio: mean GMACs of the group / those of the baseline; NaN if they cannot be compared.
    """

    group: str
    baseline: str
    test: PairedTest | None
    p_corrected: float | None
    p_equivalence_corrected: float | None
    margin: float
    detectable: float | None
    gmacs_ratio: float

    @property
    def better(self) -> bool | None:
        """Whether the group is better (True) or worse (False) than the baseline; None if that is not decided."""
        if self.test is None or self.p_corrected is None or not self.p_corrected < LEVEL:
            return None
        return self.test.mean > 0

    @property
    def equivalent(self) -> bool:
        """Whether the difference is less than the margin."""
        return self.p_equivalence_corrected is not None and self.p_equivalence_corrected < LEVEL

    @property
    def verdict(self) -> str:
        """What the tests decide, in a few words."""
        if self.test is None:
            return "not tested: no seed in common"
        if self.detectable is None:
            return "not tested: one seed" if self.test.n < 2 else "not tested: every seed gives the same difference"
        equivalent = f"equivalent within {margin_text(self.margin)}"
        if self.better is not None:
            word = "better" if self.better else "worse"
            return f"{word}, but {equivalent}" if self.equivalent else word
        if self.equivalent:
            return equivalent
        if self.detectable >= 1:
            return f"not decided: {self.test.n} seeds are too few"
        return f"not decided: {self.test.n} seeds can detect differences of {100 * self.detectable:.1f} points or more"

    def interval(self, group: str) -> str:
        """The interval of the difference in points, the given one of the two groups minus the other, and its seeds."""
        seeds = 0 if self.test is None else self.test.n
        return f"95 % interval {self._interval(1 if group == self.group else -1)}, {seeds} paired seeds"

    def _interval(self, sign: int) -> str:
        if self.test is None or self.test.low is None or self.test.high is None:
            return "-"
        low, high = sorted((sign * self.test.low, sign * self.test.high))
        return f"{signed(100 * low)} to {signed(100 * high)}"

    def cells(self) -> list[str]:
        """The cells of the table of pairs; see `HEADS`."""
        test = self.test
        return [
            f"{self.group} against {self.baseline}",
            "0" if test is None else str(test.n),
            "-" if test is None else signed(100 * test.mean),
            self._interval(1),
            "-" if test is None or test.d_z is None else signed(test.d_z),
            _p_value(self.p_corrected),
            _p_value(self.p_equivalence_corrected),
            f"x {format_number(self.gmacs_ratio, 2)}",
            self.verdict,
        ]


def signed(value: float) -> str:
    """A number with one decimal and its sign."""
    return f"{value:+.1f}".replace("-", "\u2212")


def margin_text(margin: float) -> str:
    """The margin of equivalence in points: '±1 point'."""
    points = f"{100 * margin:g}"
    return f"±{points} point{'s' * (points != '1')}"


def _p_value(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _baseline(methods: Sequence[MethodRow]) -> MethodRow:
    """The group that the others are compared with: of the first method, the one at the most common resolution."""
    resolutions = Counter(row.i_res for row in methods)
    usual = max(resolutions, key=resolutions.__getitem__)
    return next((row for row in methods if row.method == methods[0].method and row.i_res == usual), methods[0])


def pair_rows(
    methods: Sequence[MethodRow],
    rows: Sequence[RunRow],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    margin: float = 0.01,
) -> list[PairRow]:
    """The rows of the given pairs (group, baseline) whose groups are both there; corrected for the number of tests.

    Args:
        methods: the groups.
        rows: their runs.
        pairs: the pairs; None: every group against the baseline, and every group against those that match its cost.
        margin: of equivalence, as a fraction.
    """
    known = {row.group: row for row in methods}
    wanted = _usual_pairs(methods) if pairs is None else [pair for pair in pairs if set(pair) <= known.keys()]
    scores = _scores(rows)
    tests = [_test(scores[group], scores[baseline], margin) for group, baseline in wanted]
    corrected = _corrected([None if test is None else test.p for test in tests])
    equivalence = _corrected([None if test is None else test.p_equivalence for test in tests])
    comparisons = sum(p is not None for p in corrected)
    found = []
    for (group, baseline), test, p, p_equivalence in zip(wanted, tests, corrected, equivalence, strict=True):
        mine, theirs = known[group].gmacs.mean, known[baseline].gmacs.mean
        detectable = None
        if test is not None and test.std is not None and p is not None:
            detectable = detectable_difference(test.n, test.std, comparisons)
        found.append(
            PairRow(
                group=group,
                baseline=baseline,
                test=test,
                p_corrected=p,
                p_equivalence_corrected=p_equivalence,
                margin=margin,
                detectable=detectable,
                gmacs_ratio=mine / theirs if theirs > 0 and math.isfinite(mine) else math.nan,
            )
        )
    return found


def _corrected(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of those that are not None, in the order given."""
    known = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(known) for p in p_values]


def _usual_pairs(methods: Sequence[MethodRow]) -> list[tuple[str, str]]:
    base = _baseline(methods).group
    found = [(row.group, base) for row in methods if row.group != base]
    groups = {row.group for row in methods}
    matched = [(row.matches, row.group) for row in methods if row.matches in groups and row.matches is not None]
    there = {*found, *(pair[::-1] for pair in found)}
    return found + [pair for pair in matched if pair not in there]


def _test(one: Mapping[int, float], other: Mapping[int, float], margin: float) -> PairedTest | None:
    """The test over the seeds that both groups have exactly once; None if there is no such seed."""
    differences = [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]
    return paired_test(differences, margin) if differences else None


def _scores(rows: Sequence[RunRow]) -> dict[str, dict[int, float]]:
    """{group: {seed: score}} of the seeds that a group has once."""
    counts = Counter((row.group, row.seed) for row in rows)
    found: dict[str, dict[int, float]] = {row.group: {} for row in rows}
    for row in rows:
        if counts[row.group, row.seed] == 1:
            found[row.group][row.seed] = row.score
    return found
