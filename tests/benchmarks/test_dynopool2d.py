"""The benchmark of the operator: what it counts, and that it stops on wrong results."""

import csv
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import dynpool
from benchmarks import dynopool2d
from benchmarks.dynopool2d import Case, measure, verify
from benchmarks.dynopool2d_results import BOTH, COPY, EAGER, OURS, PEER, Results, Row, summarise
from benchmarks.timing import enough

CASE = Case(2, 3, 8, 2.0, torch.float32, torch.channels_last, True)


def test_the_floor_at_alpha_two_is_what_both_passes_must_move() -> None:
    x, y = 2 * 3 * 64, 2 * 3 * 16
    assert CASE.floor_bytes() == 4 * (x + y) + y + 4 * y + y + 4 * x + 4 * x


@pytest.mark.parametrize("wrong", ["y", "dx", "dalpha"])
def test_wrong_results_stop_the_benchmark(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verify(CASE, "cpu")
    right = dynpool.dynopool2d

    def slightly_wrong(x: Tensor, alpha: Tensor, *, size: tuple[int, int]) -> Tensor:
        y = right(x, alpha, size=size)
        if wrong == "y":
            return y + 1e-4
        return y + 1e-3 * ((x - x.detach()).sum() if wrong == "dx" else (alpha - alpha.detach()).sum())

    monkeypatch.setattr(dynpool, "dynopool2d", slightly_wrong)
    with pytest.raises(SystemExit, match=rf"{wrong} is off by .* No speed is printed while results disagree"):
        verify(CASE, "cpu")


def test_each_way_to_resize_a_map_has_a_row() -> None:
    rows = {row.what: row for row in measure(CASE, "cpu", 2)}
    assert {COPY, PEER, EAGER, OURS, "max_pool2d"} == set(rows)
    assert rows[PEER].of_composition == 1.0
    assert all(0 < row.p20 <= row.p50 <= row.p80 for row in rows.values())


def test_the_device_is_kept_busy_until_it_does_not_overtake_the_host() -> None:
    asked = []

    def overtaken(flushes: int) -> bool:
        asked.append(flushes)
        return flushes < 3  # the host takes as long as three of them

    assert enough(overtaken) == 4
    assert asked == [1, 2, 4]
    assert enough(lambda flushes: False) == 1
    assert enough(lambda flushes: True) == 1  # a call that synchronises: more flushes would not help


def test_rows_go_to_any_folder_and_need_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = measure(CASE, "cpu", 2)[0]
    for number, path in enumerate((os.environ["PATH"], "")):  # the same but that git is not found
        monkeypatch.setenv("PATH", path)
        results = Results(tmp_path / "new" / str(number))
        results.add(row)
        results.add(row)
        with results.path.open(newline="") as file:
            found = list(csv.DictReader(file))
        assert [line["what"] for line in found] == [COPY, COPY]
        assert number == 0 or found[0]["commit"] == ""


def test_cases_after_the_time_limit_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dynopool2d, "cases", lambda quick: [CASE])
    monkeypatch.setattr(sys, "argv", ["", "--threads", "1", "--minutes", "0", "--out", str(tmp_path)])
    dynopool2d.main()
    assert "1 maps were skipped" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_summary_says_how_much_faster_the_operator_is(capsys: pytest.CaptureFixture[str]) -> None:
    def row(what: str, us: float) -> Row:
        return Row(what, 2, 3, 8, 4, 2.0, "float32", "channels_last", BOTH, us, us, us, 999, 0.5, us / 20, None, None)

    summarise([row(COPY, 10), row(OURS, 10), row(EAGER, 20)])
    assert f"  2.00 x the speed of {EAGER}" in capsys.readouterr().out
