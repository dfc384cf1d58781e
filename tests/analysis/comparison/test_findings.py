"""What a comparison says: who is ahead, whether it may be chance, and what keeps runs from being compared."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dynpool.analysis.common.checksums import CHECKSUM
from dynpool.analysis.comparison.findings import difference, holm
from dynpool.analysis.comparison.summary import compare_runs

WriteRun = Callable[..., Path]


@pytest.mark.parametrize(
    ("human", "learned", "says"),
    [
        ((0.80, 0.81), (0.90, 0.91), "dynopool is ahead of human by 10.0 points"),
        ((0.80, 0.81), (0.90, 0.91), "that is more than the spread between runs (1.0 points)"),
        ((0.90, 0.91), (0.80, 0.81), "human is ahead of dynopool by 10.0 points"),
        ((0.80, 0.90), (0.82, 0.92), "within the spread between runs (10.0 points), so it may be chance"),
        ((0.80, 0.90), (0.90, 0.80), "human and dynopool are level in final test accuracy (85.0 % ± 7.1 against"),
        ((0.80,), (0.90,), "with a single run of dynopool and of human the spread is unknown, so this may be chance"),
        ((0.80,), (0.90, 0.92), "91.0 % ± 1.4 against 80.0 %, 2 runs against 1); with a single run of human"),
    ],
)
def test_headline_says_who_is_ahead_and_whether_it_may_be_chance(
    tmp_path: Path, write_run: WriteRun, human: tuple[float, ...], learned: tuple[float, ...], says: str
) -> None:
    folders = [write_run(tmp_path / f"h{i}", "human", i, final=final) for i, final in enumerate(human)]
    folders += [write_run(tmp_path / f"d{i}", "dynopool", i, final=final) for i, final in enumerate(learned)]
    assert says in compare_runs(folders).headline


def test_headline_states_the_cost(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / "h", "human"), write_run(tmp_path / "d", "dynopool")]
    comparison = compare_runs(folders)
    human, learned = (row.gmacs.mean for row in comparison.methods)
    assert f"dynopool needs {learned / human:.2f} times the MMACs of human" in comparison.headline
    folders = [write_run(tmp_path / "a", "human", final=0.5), write_run(tmp_path / "b", "other", learns=False)]
    assert "Both need the same MMACs (1.360 against 1.360)." in compare_runs(folders).headline


def test_headline_says_if_no_size_changed_during_training(tmp_path: Path, write_run: WriteRun) -> None:
    still = write_run(tmp_path / "still", "dynopool", epochs=3, final=0.8)
    table = list(csv.DictReader((still / "metrics.csv").open(newline="")))
    kept = [row | {"sizes": table[0]["sizes"]} for row in table]
    with (still / "metrics.csv").open("w", newline="") as file:
        columns = [column for column in table[0] if column != CHECKSUM]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    human = write_run(tmp_path / "human", "human", epochs=3, final=0.8)
    other = write_run(tmp_path / "other", "dynopool", 1, epochs=3, final=0.8)
    said = "No size changed during training with dynopool: every feature map kept its initial size."
    assert compare_runs([human, still]).headline.endswith(said)
    assert "No size changed" not in compare_runs([human, other]).headline
    assert "No size changed" not in compare_runs([human, still, other]).headline, "one of its runs did learn"
    assert "No size changed" not in compare_runs([human]).headline, "a human design learns no sizes anyway"


def test_three_methods_rank_the_best_two(tmp_path: Path, write_run: WriteRun) -> None:
    finals = {"human": 0.7, "dynopool": 0.9, "shape_adaptor": 0.8}
    comparison = compare_runs([write_run(tmp_path / name, name, final=final) for name, final in finals.items()])
    assert "dynopool is ahead of the next best, shape_adaptor, by 10.0 points" in comparison.headline
    assert [row.method for row in comparison.methods] == ["human", "dynopool", "shape_adaptor"]


def test_unlike_runs_are_noted(tmp_path: Path, write_run: WriteRun) -> None:
    first = write_run(tmp_path / "a", "human", lr=0.1, device="cpu")
    second = write_run(tmp_path / "b", "dynopool", 1, lr=0.2, device="cuda", data={"name": "cifar10", "root": "/x"})
    notes = compare_runs([first, second]).notes
    assert "the runs differ in lr (0.1 / 0.2), so they are not directly comparable" in notes
    assert "the runs differ in data.name (digits / cifar10), so they are not directly comparable" in notes
    assert "the methods were not run with the same seeds" in notes
    assert not any("device" in note or "root" in note for note in notes)


def test_same_seed_twice_is_noted(tmp_path: Path, write_run: WriteRun) -> None:
    comparison = compare_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b")])
    assert comparison.notes == ("dynopool has several runs with seed 0; all are counted",)


def test_differences_are_taken_seed_by_seed(tmp_path: Path, write_run: WriteRun) -> None:
    # pairs differ by 0.01, 0.02 and 0.03: t = 0.02 / (0.01 / sqrt(3)) = 3.464 on 2 degrees of freedom
    human, learned = (0.5, 0.7, 0.6), (0.51, 0.72, 0.63)
    folders = [write_run(tmp_path / f"h{i}", "human", i, final=final) for i, final in enumerate(human)]
    folders += [write_run(tmp_path / f"d{i}", "dynopool", i, final=final) for i, final in enumerate(learned)]
    folders += [write_run(tmp_path / "d9", "dynopool", 9, final=0.9)]
    rows = compare_runs(folders).rows
    found = difference(rows, "dynopool", "human")
    assert found is not None
    assert found.n == 3
    assert found.mean == pytest.approx(0.02)
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    half = 4.3027 * 0.01 / math.sqrt(3)  # 4.3027: the 97.5 % point of Student's t with 2 degrees of freedom
    assert found.low == pytest.approx(0.02 - half, abs=1e-6)
    assert found.high == pytest.approx(0.02 + half, abs=1e-6)
    assert difference(rows, "dynopool", "absent") is None


def test_one_seed_or_equal_differences_are_not_tested_for_significance(tmp_path: Path, write_run: WriteRun) -> None:
    one = [write_run(tmp_path / "h", "human", final=0.5), write_run(tmp_path / "d", "dynopool", final=0.75)]
    assert "(only one seed in common, so significance cannot be tested)." in compare_runs(one).findings[0]
    more = [write_run(tmp_path / f"{m}{i}", m, i, final=0.5) for m in ("human", "other") for i in (0, 1)]
    assert "every seed gives the same difference" in compare_runs(more).findings[0]


def test_holm_corrects_for_the_number_of_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_findings_name_only_significant_differences(tmp_path: Path, write_run: WriteRun) -> None:
    finals = {
        "human": (0.500, 0.601, 0.702, 0.803),
        "better": (0.600, 0.700, 0.801, 0.902),
        "same": (0.502, 0.600, 0.701, 0.804),
    }
    folders = [
        write_run(tmp_path / f"{m}{i}", m, i, final=f) for m, values in finals.items() for i, f in enumerate(values)
    ]
    said = " ".join(compare_runs(folders).findings)
    assert "better +9.9 points against human" in said
    assert "Significant differences (p < 0.05, Holm-corrected for 2 comparisons): better." in said


def test_missed_and_kept_budgets_are_reported(tmp_path: Path, write_run: WriteRun) -> None:
    cost = compare_runs([write_run(tmp_path / "any")]).rows[0].gmacs
    budgets = {"over": cost / 1.021, "under": cost / 0.979, "just": cost / 1.019, "free": None}
    folders = [write_run(tmp_path / name, name, gmacs_budget=budget) for name, budget in budgets.items()]
    comparison = compare_runs(folders)
    found = {row.method: row for row in comparison.rows}
    assert found["over"].off_budget == pytest.approx(0.021)
    assert found["free"].off_budget is None
    notes = [note for note in comparison.notes if "missing its gmacs_budget" in note]
    assert notes == [
        f"over: costs {cost:.4g} GMACs, missing its gmacs_budget of {budgets['over']:g} by +2.1 %",
        f"under: costs {cost:.4g} GMACs, missing its gmacs_budget of {budgets['under']:g} by \u22122.1 %",
    ]
    missed = "missed by more than 2 %"
    assert f"3 runs with a gmacs_budget; {missed}: over, seed 0, under, seed 0." in comparison.findings
    kept = compare_runs([folders[2], folders[3]])
    assert f"1 run with a gmacs_budget; none is {missed}." in kept.findings
    assert not any("missing" in note for note in kept.notes)
    assert not any("gmacs_budget" in finding for finding in compare_runs([tmp_path / "any", folders[3]]).findings)
    head, over = (next(line for line in str(comparison).splitlines() if line.startswith(w)) for w in ("method", "over"))
    assert f"{1e3 * cost / 1.021:g}" in over.split()
    assert "budget" in head.split()
    assert "budget" not in str(compare_runs([tmp_path / "any"])).split()
    rows = {row["method"]: row["gmacs_budget"] for row in csv.DictReader(io.StringIO(comparison.to_csv()))}
    assert float(rows["over"]) == pytest.approx(cost / 1.021, rel=1e-5)
    assert rows["free"] == ""


def test_others_are_compared_with_the_human_design_at_the_most_common_resolution(
    tmp_path: Path, write_run: WriteRun
) -> None:
    folders = []
    for side in (16, 32, 48):
        point, data = f"data.resolution={side}", {"name": "digits", "resolution": side}
        folders += [write_run(tmp_path / str(side), "human", grid_point=point, data=data, input_size=(1, side, side))]
    folders += [write_run(tmp_path / f"d{i}", grid_point=f"gmacs_budget={i}", gmacs_budget=i) for i in (1, 2)]
    comparison = compare_runs(folders)
    compared = [finding for finding in comparison.findings if " points against " in finding]
    assert len(compared) == 4
    assert all("points against human data.resolution=32" in finding for finding in compared)
    assert not any("input_size" in note or "resolution" in note for note in comparison.notes)
