"""The frame of the run on a GPU, with parts as they must not be."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.context import Context
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.rows import FAILED, MISSED, PASSED, SKIPPED, Rows, path_of
from benchmarks.gpu.runner import LOG, Outcome, run
from benchmarks.gpu.summary import LINES, failed, read_rows, summarise

SLOW = """
import subprocess, sys, time
from benchmarks.gpu.rows import MISSED, PASSED, Rows, path_of

def main(context):
    with Rows(path_of(context.out, "slow"), ("seconds",), context.device) as rows:
        rows.add("first", PASSED, seconds=0.5)
        rows.add("second", MISSED, 0.25, "too slow", seconds=1.5)
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (context.out / "sleeper").write_text(str(sleeper.pid))
        print("begin third", flush=True)
        time.sleep(600)
"""
CRASHING = """
from benchmarks.gpu.rows import PASSED, Rows, path_of

def main(context):
    with Rows(path_of(context.out, "crashing"), (), context.device) as rows:
        rows.add("before", PASSED)
        raise ZeroDivisionError("by nothing")
"""
GOOD = """
from benchmarks.gpu.rows import PASSED, Rows, path_of

def main(context):
    with Rows(path_of(context.out, "good"), ("left",), context.device) as rows:
        rows.add("told", PASSED, note=f"tiny={context.tiny}", left=context.left())
"""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Part, ...]:
    """A slow part, one that crashes and a good one, with a thirtieth of the time for the first."""
    for name, text in (("fake_slow", SLOW), ("fake_crashing", CRASHING), ("fake_good", GOOD)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Part("slow", "fake_slow", 1.0), Part("crashing", "fake_crashing", 10.0), Part("good", "fake_good", 19.0)


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_slow_part_is_killed_a_crash_is_reported_and_the_rest_goes_on(
    tmp_path: Path, fakes: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(command, "PARTS", fakes)
    monkeypatch.setattr(sys, "argv", ["", "--out", str(out), "--minutes", "2.5", "--device", "cpu", "--tiny"])
    assert command.main() == 1
    assert not is_running(int((out / "sleeper").read_text()))  # nor anything that the slow part started

    slow, crashing, good = (read_rows(out, name) for name in ("slow", "crashing", "good"))
    assert [(row["what"], row["state"]) for row in slow] == [("first", PASSED), ("second", MISSED)]
    assert all(row["device"].startswith("CPU") and row["torch"] and row["python"] for row in slow)
    assert [row["what"] for row in crashing] == ["before"]
    assert good[0]["note"] == "tiny=True"
    assert float(good[0]["left"]) > 100  # what the others left

    text = (out / "summary.txt").read_text()
    assert capsys.readouterr().out.endswith(text)
    lines = text.splitlines()
    said = {line.split(":")[0]: line for line in lines}
    killed = re.search(r"KILLED after (\d+) s of 5: 1 missed, 1 passed", said["slow"])
    assert killed is not None
    assert 5 <= int(killed[1]) < 50, "at its limit, but for the time that a busy machine takes to see it"
    assert "    missed: second, 25% of its target too slow" in lines
    assert "    last said: begin third" in lines
    assert "CRASHED" in said["crashing"]
    assert "    last said: ZeroDivisionError: by nothing" in lines
    assert "done" in said["good"]
    assert lines[-1] == "something FAILED"
    assert "ZeroDivisionError" in (out / LOG).read_text()


def test_where_all_parts_are_done_and_right_nothing_failed(
    tmp_path: Path, fakes: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PARTS", fakes)
    monkeypatch.setattr(sys, "argv", ["", "--out", str(tmp_path / "out"), "--parts", "good", "--device", "cpu"])
    assert command.main() == 0
    assert (tmp_path / "out" / "summary.txt").read_text().endswith("nothing failed\n")


def test_parts_for_which_no_time_is_left_are_said_and_fail_the_run(tmp_path: Path, fakes: tuple[Part, ...]) -> None:
    outcomes = list(run(fakes, Context(tmp_path, "cpu", True, time.time())))
    assert [outcome.ended for outcome in outcomes] == ["not begun"] * 3
    assert failed(outcomes, tmp_path)
    assert "good: not begun, no time was left" in summarise(outcomes, tmp_path)


def test_a_summary_shows_the_worst_rows_first_and_has_at_most_forty_lines(tmp_path: Path) -> None:
    names = [part.name for part in PARTS if part.name in ("warm", "verify", "integrate")]
    for name in names:
        with Rows(path_of(tmp_path, name), (), "cpu") as rows:
            for number in range(50):
                rows.add(f"row {number}", FAILED if number == 40 else MISSED, 1 - number / 100, "as was feared")
            rows.add("row 50", SKIPPED, note="without a reason")
    lines = summarise([Outcome(name, "done", 1.0, 2.0) for name in names], tmp_path).splitlines()
    assert len(lines) <= LINES
    assert lines[2:8] == [
        "    FAILED: row 40 as was feared",
        "    missed: row 49, 51% of its target as was feared",
        "    missed: row 48, 52% of its target as was feared",
        "    missed: row 47, 53% of its target as was feared",
        "    and 46 more missed",
        "    skipped: row 50 (without a reason)",
    ]
    many = [Outcome(names[0], "done", 1.0, 2.0)] * 20
    lines = summarise(many, tmp_path).splitlines()
    assert len(lines) == LINES
    assert lines[-1] == "something FAILED"


def test_a_row_that_was_cut_off_is_no_row(tmp_path: Path) -> None:
    with Rows(path_of(tmp_path, "warm"), (), "cpu") as rows:
        rows.add("whole", PASSED)
    with path_of(tmp_path, "warm").open("a") as file:
        file.write("cut o")
    assert [row["what"] for row in read_rows(tmp_path, "warm")] == ["whole"]


def test_files_of_a_run_are_few_enough_to_be_fetched_together() -> None:
    default = [part for part in PARTS if part.by_default]
    assert len(default) + len([LOG, "summary.txt"]) <= 8
    assert os.sep not in LOG
