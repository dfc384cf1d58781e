"""Which pairs of methods are tested, and that no verdict is given without its test."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dynpool.analysis.comparison.paired_tests import detectable_difference, holm
from dynpool.analysis.comparison.pairs import HEADS, pair_rows
from dynpool.analysis.comparison.summary import Comparison, compare_runs

WriteRun = Callable[..., Path]
HUMAN = (0.500, 0.601, 0.702, 0.803)


@pytest.fixture
def compared(tmp_path: Path, write_run: WriteRun) -> Callable[..., Comparison]:
    """compared(method=(accuracy of seed 0, ...), ...) -> their comparison with `HUMAN`."""

    def compare(**finals: Sequence[float]) -> Comparison:
        folders = [
            write_run(tmp_path / f"{method}{seed}", method, seed, final=final)
            for method, accuracies in {"human": HUMAN, **finals}.items()
            for seed, final in enumerate(accuracies)
        ]
        return compare_runs(folders)

    return compare


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {pair.group: pair.verdict for pair in comparison.pairs}


def test_verdicts_follow_from_the_corrected_tests(compared: Callable[..., Comparison]) -> None:
    comparison = compared(
        ahead=(0.600, 0.700, 0.801, 0.902),
        behind=(0.400, 0.502, 0.601, 0.703),
        same=(0.502, 0.600, 0.701, 0.804),
        slightly=(0.5050, 0.6061, 0.7069, 0.8080),
        unclear=(0.52, 0.58, 0.75, 0.80),
        equal=tuple(accuracy + 0.01 for accuracy in HUMAN),
        single=(0.9,),
    )
    found = verdicts(comparison)
    spread = statistics.stdev(a - b for a, b in zip((0.52, 0.58, 0.75, 0.80), HUMAN, strict=True))
    points = f"{100 * detectable_difference(4, spread, 5):.1f}"
    assert found == {
        "ahead": "better",
        "behind": "worse",
        "same": "equivalent within ±1 point",
        "slightly": "better, but equivalent within ±1 point",
        "unclear": f"not decided: 4 seeds can detect differences of {points} points or more",
        "equal": "not tested: every seed gives the same difference",
        "single": "not tested: one seed",
    }


def test_a_test_without_a_value_decides_nothing(compared: Callable[..., Comparison]) -> None:
    (pair,) = compared(behind=(0.4, 0.499, 0.602, 0.704)).pairs
    assert pair.better is False
    nothing = replace(pair, p_corrected=math.nan, p_equivalence_corrected=math.nan)
    assert nothing.better is None
    assert not nothing.equivalent
    assert nothing.verdict.startswith("not decided")


def test_an_interval_above_zero_is_not_better_before_the_correction(compared: Callable[..., Comparison]) -> None:
    gains = (0.010, 0.024, 0.016, 0.030)
    methods = {f"m{i}": [a + g + 0.001 * i for a, g in zip(HUMAN, gains, strict=True)] for i in range(4)}
    comparison = compared(**methods)
    for pair in comparison.pairs:
        assert pair.test is not None
        assert pair.test.low is not None
        assert pair.test.p is not None
        assert pair.test.low > 0
        assert pair.test.p < 0.05
        assert pair.better is None
        assert "better" not in pair.verdict
    assert verdicts(compare_runs([Path(row.folder) for row in comparison.rows if row.group in ("human", "m0")])) == {
        "m0": "better"
    }


def test_p_values_are_corrected_over_the_tested_pairs(compared: Callable[..., Comparison]) -> None:
    comparison = compared(
        a=(0.60, 0.68, 0.79, 0.95), b=(0.52, 0.60, 0.75, 0.81), c=(0.505, 0.60, 0.70, 0.81), single=(0.9,)
    )
    tested = [pair for pair in comparison.pairs if pair.test is not None and pair.test.p is not None]
    assert [pair.group for pair in tested] == ["a", "b", "c"]
    for raw, corrected in (("p", "p_corrected"), ("p_equivalence", "p_equivalence_corrected")):
        assert [getattr(pair, corrected) for pair in tested] == holm([getattr(pair.test, raw) for pair in tested])


def test_methods_are_compared_with_the_first_and_with_those_that_match_their_cost(
    tmp_path: Path, write_run: WriteRun
) -> None:
    folders = [write_run(tmp_path / "h", "human"), write_run(tmp_path / "d", "dynopool")]
    for method, match in (("scaled", "dynopool"), ("random", "dynopool"), ("resized", "human"), ("other", "absent")):
        folders.append(write_run(tmp_path / method, method, gmacs_budget={"match": match, "gmacs": 0.001}))
    comparison = compare_runs(folders)
    assert [(pair.group, pair.baseline) for pair in comparison.pairs] == [
        ("dynopool", "human"), ("other", "human"), ("random", "human"), ("resized", "human"), ("scaled", "human"),
        ("dynopool", "random"), ("dynopool", "scaled"),
    ]  # fmt: skip
    chosen = [("dynopool", "scaled"), ("dynopool", "gone")]
    (pair,) = pair_rows(comparison.methods, comparison.rows, pairs=chosen, margin=0.02)
    assert (pair.group, pair.baseline, pair.margin) == ("dynopool", "scaled", 0.02)


def test_only_common_seeds_count_and_costs_are_compared(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / f"h{i}", "human", i, final=final) for i, final in enumerate((0.5, 0.7, 0.6))]
    folders += [write_run(tmp_path / f"d{i}", "dynopool", i, final=f) for i, f in enumerate((0.51, 0.72, 0.63))]
    folders += [write_run(tmp_path / "d9", "dynopool", 9, final=0.9), write_run(tmp_path / "o", "other", 5)]
    comparison = compare_runs(folders)
    learned, other = comparison.pairs
    assert learned.test is not None
    assert learned.test.n == 3
    assert learned.test.mean == pytest.approx(0.02)
    costs = {row.method: row.gmacs.mean for row in comparison.methods}
    assert learned.gmacs_ratio == pytest.approx(costs["dynopool"] / costs["human"])
    assert (other.test, other.verdict) == (None, "not tested: no seed in common")
    assert len(other.cells()) == len(HEADS)


def test_the_table_and_its_file_have_the_figures(compared: Callable[..., Comparison]) -> None:
    comparison = compared(ahead=(0.600, 0.700, 0.801, 0.902), same=(0.502, 0.600, 0.701, 0.804))
    line = next(line for line in str(comparison).splitlines() if line.startswith("ahead against human "))
    pair = comparison.pairs[0]
    assert pair.test is not None
    assert line.split()[3:9] == ["4", "+9.9", "+9.8", "to", "+10.0", f"{pair.test.d_z:+.1f}"]
    assert line.endswith("better")
    ahead, same = csv.DictReader(io.StringIO(comparison.pairs_to_csv()))
    assert float(ahead["mean"]) == pytest.approx(0.09925)
    assert float(ahead["p_corrected"]) == pytest.approx(pair.p_corrected or math.nan, rel=1e-4)
    assert same["verdict"] == "equivalent within ±1 point"
    assert comparison.to_dict()["pairs"][0]["verdict"] == "better"  # type: ignore[index]


def test_two_seeds_can_be_too_few_for_any_difference(compared: Callable[..., Comparison]) -> None:
    comparison = compared(unclear=(0.35, 0.75))
    (pair,) = comparison.pairs
    assert pair.detectable is not None
    assert pair.detectable > 1
    assert pair.verdict == "not decided: 2 seeds are too few"
