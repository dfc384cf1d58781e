"""The frame of the run on a GPU, with parts as they must not be; and what its parts say of themselves."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dynpool
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import cifar, headline, profiling, verify
from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map, shapes
from benchmarks.gpu.networks import pooled_maps
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.rows import FAILED, MISSED, PASSED, SKIPPED, Rows, path_of
from benchmarks.gpu.runner import LOG, Outcome, run
from benchmarks.gpu.summary import LINES, failed, read_rows, summarise
from dynpool.kernels import eager
from dynpool.training.config import ComparisonConfig
from dynpool.training.config_file import load_config, run_config

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
    assert "KILLED after 5 s of 5: 1 missed, 1 passed" in said["slow"]
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


# ----------------------------------------------------------------------------------------------------------- its parts


def test_the_fixed_list_covers_every_layout_dtype_reduction_and_odd_map_in_at_most_forty() -> None:
    found = shapes(tiny=False)
    assert len(set(found)) == len(found) <= 40
    assert {one.strides for one in found} == {"contiguous", "channels_last", "permuted", "sliced", "expanded"}
    assert {one.dtype for one in found} == {torch.float64, torch.float32, torch.float16, torch.bfloat16}
    assert {one.reduce for one in found} == {"max", "mean", "sample"}
    assert {one.strides for one in found if one.skew} == {"contiguous", "channels_last"}
    assert any(one.shape[0] == 0 for one in found)
    assert any(one.shape[1] == 0 for one in found)
    assert any(one.shape[2:] == (1, 1) for one in found)
    assert any("alone" in one.uses for one in found)


@pytest.mark.parametrize(
    "one", [one for one in shapes(tiny=True) if one.strides in ("channels_last", "expanded")], ids=str
)
def test_a_skewed_or_strided_map_holds_the_same_values(one: Map) -> None:
    x, _ = one.tensors("cpu")
    plain, _ = replace(one, strides="contiguous", skew=0).tensors("cpu")
    assert torch.equal(x, plain[:1].expand_as(plain) if one.strides == "expanded" else plain)
    assert x.storage_offset() == one.skew
    assert x.is_contiguous(memory_format=torch.channels_last) or one.strides == "expanded" or not x.numel()


WRONG: dict[str | None, Callable[..., Any]] = {
    "y": lambda y, winner, dx, dalpha: (y + 1e-3, winner, dx, dalpha),
    "winners": lambda y, winner, dx, dalpha: (y, 3 - winner, dx, dalpha),
    "dx": lambda y, winner, dx, dalpha: (y, winner, dx.index_fill(3, torch.tensor(0), torch.nan), dalpha),
    "dalpha": lambda y, winner, dx, dalpha: (y, winner, dx, dalpha + 1e-2),
    "layout": lambda y, winner, dx, dalpha: (
        y,
        winner,
        dx.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1),
        dalpha,
    ),
}


@pytest.mark.parametrize("wrong", [None, *WRONG])
def test_what_is_wrong_is_found_and_nothing_else(wrong: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*given: Any) -> tuple[Tensor, Tensor]:
        y, winner = eager.forward(*given)
        return WRONG[wrong](y, winner, y, y)[:2] if wrong in ("y", "winners") else (y, winner)

    def backward(*given: Any, **named: Any) -> tuple[Tensor | None, Tensor | None]:
        dx, dalpha = eager.backward(*given, **named)
        return WRONG[wrong](dx, dx, dx, dalpha)[2:] if wrong in ("dx", "dalpha", "layout") else (dx, dalpha)

    monkeypatch.setattr(verify, "kernels", SimpleNamespace(forward=forward, backward=backward))
    one = Map((2, 8, 6, 5), (4, 4), torch.float32, "channels_last")
    found = {finding.checked for finding in verify.check(one, "cpu") if not finding.right}
    assert found - {"dx", "dalpha"} == ({wrong} - {"dx", "dalpha", None})
    assert wrong is None or wrong in found
    assert wrong is not None or not found


def test_bits_that_change_from_call_to_call_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count()

    def forward(*given: Any) -> tuple[Tensor, Tensor]:
        y, winner = eager.forward(*given)
        return y + 1e-9 * next(calls), winner

    monkeypatch.setattr(verify, "kernels", SimpleNamespace(forward=forward, backward=eager.backward))
    findings = list(verify.check(Map((1, 2, 4, 4), (2, 3), torch.float64), "cpu"))
    assert [(finding.checked, finding.note) for finding in findings if not finding.right][:1] == [
        ("twice the same bits", "1 of 4 tensors differ")
    ]


def test_headline_maps_are_beyond_the_cache_and_come_first() -> None:
    found = list(headline.groups(tiny=False))
    assert all(group.case.floor_bytes() > 2 * 50 * 2**20 for group in found if not group.small)
    assert {group.case.alpha for group in found} == {2.0, 1.7, 1.19, 1.0, 0.8}
    first = found[:40]
    assert not any(group.small for group in first)
    assert {(group.case.pixels, group.case.layout, group.case.backward) for group in first} == {
        (pixels, layout, True)
        for pixels in (112, 56, 28, 7)
        for layout in (torch.contiguous_format, torch.channels_last)
    }


def test_pooled_maps_of_a_network_are_those_of_its_pass() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, stride=2, padding=1))
    found = pooled_maps(dynpool.convert(net, (3, 32, 32)), (5, 3, 32, 32), torch.bfloat16)
    assert [str(one) for one in found] == [
        "5x8x32x32 -> 16x16 bfloat16 channels_last max",
        "5x4x16x16 -> 8x8 bfloat16 channels_last max",
    ]


AHEAD = """
import torch
from benchmarks.gpu import launches as ahead
from benchmarks.gpu.maps import Map
from dynpool.kernels import triton as kernels
from dynpool.kernels.layout import memory_format

ahead.use_target(ahead.HOPPER)
maps = [
    Map((2, 16, 8, 8), (5, 5), torch.bfloat16, "channels_last"),
    Map((2, 24, 8, 6), (5, 5), torch.float32, skew=1, uses=("both", "forward")),
]
noted = list(ahead.launches(maps))
for launch in noted:
    ahead.compile_launch(launch)
compiled = lambda: sum(len(getattr(kernels, name).device_caches[0][0]) for name in names)
names = sorted({launch.kernel for launch in noted})
assert compiled() == len(noted), (compiled(), noted)


class Launched:  # as a launch would be, on tensors with data, except that nothing runs
    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return lambda *given, **named: self.kernel.warmup(*given, grid=grid, **named)


real = {name: getattr(kernels, name) for name in names}
for name, kernel in real.items():
    setattr(kernels, name, Launched(kernel))
for one in maps:
    x, dy = one.tensors("cpu")
    last = memory_format(x) == torch.channels_last
    y, winner = kernels.forward(x, one.size, one.reduce, True)
    kernels.backward(dy, x, torch.ones(2), winner, x.shape[2:], one.reduce, True, last)
kernels.forward(x, one.size, one.reduce, False)
for name, kernel in real.items():
    setattr(kernels, name, kernel)
assert compiled() == len(noted), (compiled(), len(noted))
print("nothing more was compiled")
"""


def test_what_is_compiled_ahead_is_what_a_launch_looks_for(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    changes = {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", AHEAD], env=os.environ | changes, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nothing more was compiled" in done.stdout


def test_images_come_from_archives_of_class_folders_or_from_torchvisions(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "images" / split / "cat").mkdir(parents=True)
    archive = shutil.make_archive(str(tmp_path / "images"), "gztar", tmp_path / "images")
    data = cifar.images_in(Path(archive), tmp_path / "unpacked")
    assert (data.name, data.root, data.resolution) == ("folder", str(tmp_path / "unpacked"), 32)
    (tmp_path / "other" / "inner" / "cifar-10-batches-py").mkdir(parents=True)
    data = cifar.images_in(tmp_path / "other", tmp_path)
    assert (data.name, data.root) == ("cifar10", str(tmp_path / "other" / "inner"))
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit, match="neither cifar-10-batches-py/ nor train/ and test/"):
        cifar.images_in(tmp_path / "none", tmp_path)


def test_the_runs_on_cifar_are_those_of_the_comparison() -> None:
    comparison, _ = load_config(ComparisonConfig, cifar.CONFIG)
    expected = [run_config(comparison, point, comparison.seeds[0]) for point in comparison.points()]
    data = expected[0].data
    found = cifar.runs(data, Context(Path(), "cpu", False, 0.0))
    assert [replace(run, device="auto", out=None) for run in found] == [replace(run, out=None) for run in expected]


def test_what_the_profiler_prints_becomes_rows() -> None:
    printed = [
        "==PROF== Connected",
        "a line of the program",
        '"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"',
        '"0","7","backward_kernel","dram__bytes_read.sum","Mbyte","1,234.5"',
        '"0","7","backward_kernel","launch__registers_per_thread","register/thread","96"',
    ]
    assert list(profiling.metrics(printed)) == [
        ("backward_kernel", "dram__bytes_read.sum", "1,234.5", "Mbyte"),
        ("backward_kernel", "launch__registers_per_thread", "96", "register/thread"),
    ]
    assert list(profiling.metrics(["==ERROR== no permission"])) == []
