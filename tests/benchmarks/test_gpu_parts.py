"""The parts of the run on a GPU, on a CPU: what they cover, what they find, what they leave out."""

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
from benchmarks.dynopool2d import Case
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import cifar, headline, integrate, profiling, verify
from benchmarks.gpu.checking import NotHere, Wrong
from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map, shapes
from benchmarks.gpu.networks import pooled_maps
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.rows import FAILED, PASSED, SKIPPED
from benchmarks.gpu.summary import read_rows
from dynpool.resizers.kernels import eager
from dynpool.training.config import ComparisonConfig
from dynpool.training.config_file import load_config, run_config


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
from dynpool.resizers.kernels.triton import launch as kernels, plans
from dynpool.resizers.kernels.layout import memory_format

ahead.use_target(ahead.HOPPER)
maps = [
    Map((2, 16, 8, 8), (5, 5), torch.bfloat16, "channels_last"),
    Map((2, 24, 8, 6), (5, 5), torch.float32, skew=1, uses=("both", "forward")),
    Map((3, 1, 8, 6), (4, 3), torch.float16, uses=("both", "alone")),
]
noted = list(ahead.launches(maps))
real = {launch.kernel: getattr(plans, launch.kernel) for launch in noted}
asked = []  # keys by which kernels are looked for, and compiled where they are not found
for name, kernel in real.items():
    kernel._do_compile = lambda key, *given, name=name: asked.append((name, key))
for launch in noted:
    ahead.compile_launch(launch)
compiled = set(asked)
assert len(compiled) == len(noted)


class Launched:  # as a launch would be, on tensors with data, except that nothing runs
    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return lambda *given, **named: self.kernel.warmup(*given, grid=grid, **named)


asked.clear()
for name, kernel in real.items():
    setattr(plans, name, Launched(kernel))
for cached in (plans.forward_launch, plans.backward_launch, plans.alpha_launch):
    cached.cache_clear()
for one in maps:
    x, dy = one.tensors("cpu")
    alpha, rest = torch.ones(2), (one.shape[2:], one.reduce)
    y, winner = kernels.forward(x, one.size, one.reduce, True)
    last = memory_format(x) == torch.channels_last
    kernels.backward(dy, x, alpha, winner, *rest, True, last)
    if "forward" in one.uses:
        kernels.forward(x, one.size, one.reduce, False)
    if "alone" in one.uses:
        kernels.backward(dy, None, None, winner, *rest, True, last)
        kernels.backward(dy, x, alpha, winner, *rest, False, last)
assert set(asked) == compiled, set(asked) ^ compiled
print("nothing else was asked for")
"""


def test_what_is_compiled_ahead_is_what_a_launch_looks_for() -> None:
    pytest.importorskip("triton")
    changes = {"TRITON_INTERPRET": "0", "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", AHEAD]
    done = subprocess.run(words, env=os.environ | changes, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nothing else was asked for" in done.stdout


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


def test_whatever_a_check_raises_is_its_row_and_the_next_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(name: str, error: Exception) -> Callable[[Context], str]:
        def check(context: Context) -> str:
            raise error

        check.__name__ = name
        return check

    def last_of_all(context: Context) -> str:
        return "as it should"

    errors = [Wrong("dx is off"), NotHere("needs a GPU"), ModuleNotFoundError("No module named 'x'"), KeyError("odd")]
    checks = [raising(name, error) for name, error in zip("abcd", errors, strict=True)]
    monkeypatch.setattr(integrate, "CHECKS", (*checks, last_of_all))
    integrate.main(Context(tmp_path, "cpu", True, time.time() + 60))
    assert [(row["what"], row["state"], row["note"]) for row in read_rows(tmp_path, "integrate")] == [
        ("a", FAILED, "dx is off"),
        ("b", SKIPPED, "needs a GPU"),
        ("c", SKIPPED, "No module named 'x': carry its wheel"),
        ("d", FAILED, "KeyError: 'odd'"),
        ("last of all", PASSED, "as it should"),
    ]
    integrate.main(Context(tmp_path, "cpu", True, time.time() - 1))
    assert {row["state"] for row in read_rows(tmp_path, "integrate")} == {SKIPPED}


def test_no_speed_is_written_while_results_disagree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(case: Case, device: str) -> None:
        if case.alpha == 2.0:
            raise SystemExit("y is off")

    several = [group for group in headline.groups(tiny=True) if not group.compiled]
    monkeypatch.setattr(headline, "groups", lambda tiny: several)
    monkeypatch.setattr(headline, "verify", refuse)
    headline.main(Context(tmp_path, "cpu", True, time.time() + 60))
    rows = read_rows(tmp_path, "headline")
    assert [row["note"] for row in rows if row["state"] == FAILED] == ["y is off"]
    assert {row["alpha"] for row in rows if row["p50"]} == {"1.7"}
    ours = next(row for row in rows if row["ours"] == "True" and row["p50"])
    assert float(ours["reached"]) == pytest.approx(float(ours["fraction_of_copy"]) / 0.8, rel=1e-2)


def test_every_part_is_told_of() -> None:
    text = Path(command.__file__).with_name("README.md").read_text()
    for part in PARTS:
        share = "all" if not part.by_default else f"{part.share:.0%}".replace("%", " %")
        assert any(line.startswith(f"| `{part.name}` ") and line.endswith(f"| {share} |") for line in text.splitlines())
