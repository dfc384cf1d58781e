"""The printed comparison against golden files, and what is marked in it."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from dynpool.analysis.common.statistics import MeanStd
from dynpool.analysis.comparison.summary import compare_runs

GOLDEN = Path(__file__).parent / "golden"

WriteRun = Callable[..., Path]


def test_printed_output(comparison_folder: Path) -> None:
    assert str(compare_runs([comparison_folder])) + "\n" == (GOLDEN / "comparison.txt").read_text()


def test_summary_csv(comparison_folder: Path) -> None:
    assert compare_runs([comparison_folder]).to_csv() == (GOLDEN / "summary.csv").read_text()


def test_one_run_has_no_standard_deviation(tmp_path: Path, write_run: WriteRun) -> None:
    comparison = compare_runs([write_run(tmp_path / "a", "human", final=0.8)])
    assert comparison.methods[0].accuracy == MeanStd(0.8, None, 1)
    assert "80.0 ± -" in str(comparison)
    assert comparison.headline == (
        "human reaches 80.0 % final test accuracy (1 run) at 1.360 MMACs; there is no other method to compare it with."
    )
    row = next(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert (row["accuracy"], row["accuracy_std"]) == ("0.8", "")


def test_unfinished_runs_are_marked(tmp_path: Path, write_run: WriteRun) -> None:
    comparison = compare_runs([write_run(tmp_path / "a", "human"), write_run(tmp_path / "b", epochs=7, planned=16)])
    assert comparison.headline.startswith("Preliminary, 1 of 2 runs unfinished: ")
    assert "7/16 unfinished" in str(comparison)
    assert comparison.notes == ("b: unfinished, epoch 7 of 16; its figures are of that epoch",)
    assert [row.unfinished for row in comparison.methods] == [0, 1]


def test_figures_that_leave_layers_out_have_a_star_and_a_footnote(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / "h", "human"), write_run(tmp_path / "d", "diffstride", i_min=3, behind_global=4)]
    comparison = compare_runs(folders)
    assert [row.behind_global for row in comparison.methods] == [0, 4]
    text = str(comparison)
    of_method, of_run = [line for line in text.splitlines() if line.startswith("diffstride ") and "against" not in line]
    assert of_method.count("3.0 ± - *") == 2
    assert "3.0x3.0 *" in of_run
    assert not any("*" in line for line in text.splitlines() if line.startswith("human"))
    assert "Convolutions not counted: diffstride 4." in text
    assert "sees the whole image" in text
    assert "*" not in str(compare_runs(folders[:1]))
    rows = [(row["method"], row["behind_global"]) for row in csv.DictReader(io.StringIO(comparison.to_csv()))]
    assert rows[:2] == [("human", "0"), ("diffstride", "4")]
