"""Comparing runs: the figures, the plain truth of the headline, and the printed output against golden files."""

import csv
import io
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparison import compare_runs
from analysis.spread import Spread

GOLDEN = Path(__file__).parent / "golden"
WriteRun = Callable[..., Path]


def test_printed_output(comparison_folder: Path) -> None:
    assert str(compare_runs([comparison_folder])) + "\n" == (GOLDEN / "comparison.txt").read_text()


def test_summary_csv(comparison_folder: Path) -> None:
    assert compare_runs([comparison_folder]).to_csv() == (GOLDEN / "summary.csv").read_text()


def test_mean_and_sample_standard_deviation(comparison_folder: Path) -> None:
    comparison = compare_runs([comparison_folder])
    human, learned = comparison.methods
    assert (human.method, learned.method) == ("human", "dynopool")
    assert human.accuracy.mean == pytest.approx(0.83)
    assert human.accuracy.std == pytest.approx(0.01)
    assert human.accuracy.n == 3
    gmacs = [row.gmacs for row in comparison.rows if row.method == "dynopool"]
    assert learned.gmacs.mean == pytest.approx(statistics.fmean(gmacs))
    assert learned.gmacs.std == pytest.approx(statistics.stdev(gmacs))
    assert learned.sizes is not None
    heights = [row.sizes["features.2"][0] for row in comparison.rows if row.method == "dynopool"]
    assert learned.sizes["features.2"][0] == pytest.approx(statistics.fmean(heights))


def test_headline_accuracy_is_of_the_final_epoch(tmp_path: Path, write_run: WriteRun) -> None:
    (row,) = compare_runs([write_run(tmp_path / "a", final=0.2)]).rows
    assert row.accuracy == pytest.approx(0.2)
    falling = write_run(tmp_path / "b", epochs=3, final=0.6)
    metrics = falling / "metrics.csv"
    lines = metrics.read_text().splitlines()
    lines[3] = ",".join("0.95" if index == 6 else cell for index, cell in enumerate(lines[3].split(",")))
    metrics.write_text("\n".join(lines) + "\n")
    (row,) = compare_runs([falling]).rows
    assert row.accuracy == pytest.approx(0.6)
    assert (row.best_accuracy, row.best_epoch) == (0.95, 2)


def test_dict_survives_json(comparison_folder: Path) -> None:
    data = json.loads(json.dumps(compare_runs([comparison_folder]).to_dict()))
    assert [row["method"] for row in data["methods"]] == ["human", "dynopool"]
    assert data["methods"][0]["accuracy"] == {
        "mean": pytest.approx(0.83),
        "std": pytest.approx(0.01),
        "n": 3,
    }
    assert data["runs"][0]["sizes"]["features.2"] == [16, 16]
    assert data["runs"][0]["i_max"] == [math.inf, math.inf]


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


def test_headline_tells_the_cost(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / "h", "human"), write_run(tmp_path / "d", "dynopool")]
    comparison = compare_runs(folders)
    human, learned = (row.gmacs.mean for row in comparison.methods)
    assert f"dynopool needs {learned / human:.2f} times the GMACs of human" in comparison.headline
    folders = [write_run(tmp_path / "a", "human", final=0.5), write_run(tmp_path / "b", "other", learns=False)]
    assert "Both need the same GMACs (0.001360 against 0.001360)." in compare_runs(folders).headline


def test_one_run_has_no_spread(tmp_path: Path, write_run: WriteRun) -> None:
    comparison = compare_runs([write_run(tmp_path / "a", "human", final=0.8)])
    assert comparison.methods[0].accuracy == Spread(0.8, None, 1)
    assert "80.0 ± -" in str(comparison)
    assert comparison.headline == (
        "human reaches 80.0 % final test accuracy (1 run) at 0.001360 GMACs;"
        " there is no other method to compare it with."
    )
    row = next(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert (row["accuracy"], row["accuracy_std"]) == ("0.8", "")


def test_three_methods_rank_the_best_two(tmp_path: Path, write_run: WriteRun) -> None:
    finals = {"human": 0.7, "dynopool": 0.9, "shape_adaptor": 0.8}
    comparison = compare_runs([write_run(tmp_path / name, name, final=final) for name, final in finals.items()])
    assert "dynopool is ahead of the next best, shape_adaptor, by 10.0 points" in comparison.headline
    assert [row.method for row in comparison.methods] == ["human", "dynopool", "shape_adaptor"]


def test_unfinished_runs_are_marked(tmp_path: Path, write_run: WriteRun) -> None:
    comparison = compare_runs([write_run(tmp_path / "a", "human"), write_run(tmp_path / "b", epochs=7, planned=16)])
    assert comparison.headline.startswith("Preliminary, 1 of 2 runs unfinished: ")
    assert "7/16 unfinished" in str(comparison)
    assert comparison.notes == ("b: unfinished, epoch 7 of 16; its figures are of that epoch",)
    assert [row.unfinished for row in comparison.methods] == [0, 1]


def test_infinite_figures(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / f"a{seed}", "human", seed, i_min=math.inf) for seed in (0, 1)]
    comparison = compare_runs(folders)
    assert comparison.methods[0].i_min_h == Spread(math.inf, None, 2)
    assert "infxinf" in str(comparison)
    assert "inf ± -" in str(comparison)


def test_unlike_runs_are_noted(tmp_path: Path, write_run: WriteRun) -> None:
    first = write_run(tmp_path / "a", "human", lr=0.1, device="cpu")
    second = write_run(tmp_path / "b", "dynopool", 1, lr=0.2, device="cuda", data={"name": "cifar10", "root": "/x"})
    notes = compare_runs([first, second]).notes
    assert "the runs differ in lr (0.1 / 0.2): not like with like" in notes
    assert "the runs differ in data.name (digits / cifar10): not like with like" in notes
    assert "the methods were not run with the same seeds" in notes
    assert not any("device" in note or "root" in note for note in notes)


def test_same_seed_twice_is_noted(tmp_path: Path, write_run: WriteRun) -> None:
    comparison = compare_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b")])
    assert comparison.notes == ("dynopool has several runs with seed 0: each counts as a run",)


def test_spread_of_unknown_values() -> None:
    assert Spread.of([None, None]) is None
    assert Spread.of([None, 2.0]) == Spread(2.0, None, 1)
    assert Spread(math.nan, None, 1).show() == "- ± -"


def test_error_of_one_folder_names_it(tmp_path: Path, write_run: WriteRun) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad")
    (bad / "metrics.csv").write_text("something,else\n")
    with pytest.raises(ValueError, match=r"bad: metrics.csv is not that of a run"):
        compare_runs([good, bad])
