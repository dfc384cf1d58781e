"""The figures of runs and of methods: means and deviations, infinite ones, and points of a grid."""

import csv
import io
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from dynpool.analysis.common.statistics import MeanStd
from dynpool.analysis.comparison.summary import compare_runs

WriteRun = Callable[..., Path]


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
    falling = write_run(tmp_path / "b", epochs=3, final=0.6, checksums=False)
    metrics = falling / "metrics.csv"
    lines = metrics.read_text().splitlines()
    lines[3] = ",".join("0.95" if index == 6 else cell for index, cell in enumerate(lines[3].split(",")))
    metrics.write_text("\n".join(lines) + "\n")
    (row,) = compare_runs([falling]).rows
    assert row.accuracy == pytest.approx(0.6)
    assert (row.best_accuracy, row.best_epoch) == (0.95, 2)


def test_infinite_figures(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / f"a{seed}", "human", seed, i_min=math.inf) for seed in (0, 1)]
    comparison = compare_runs(folders)
    assert comparison.methods[0].i_min == (MeanStd(math.inf, None, 2),) * 2
    assert "infxinf" in str(comparison)
    assert "inf ± -" in str(comparison)


def test_points_of_a_grid_are_rows_of_their_own(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / f"h{i}", "human", i) for i in (0, 1)]
    folders += [
        write_run(tmp_path / f"d{w}{i}", "dynopool", i, grid_point=f"gmacs_weight={w}", gmacs_weight=w, final=0.8 + w)
        for w in (0.0, 0.1)
        for i in (0, 1)
    ]
    comparison = compare_runs(folders)
    assert [row.group for row in comparison.methods] == [
        "human",
        "dynopool gmacs_weight=0.0",
        "dynopool gmacs_weight=0.1",
    ]
    assert [row.accuracy.n for row in comparison.methods] == [2, 2, 2]
    assert not any("gmacs_weight" in note for note in comparison.notes)
    points = [(row["method"], row["grid_point"]) for row in csv.DictReader(io.StringIO(comparison.to_csv()))]
    assert points[:3] == [("human", ""), ("dynopool", "gmacs_weight=0.0"), ("dynopool", "gmacs_weight=0.1")]
