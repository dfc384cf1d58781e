"""Kernels for the sizes that training may come to are compiled in the background; nothing is launched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from triton.errors import TritonError

from dynpool.resizers.kernels.triton import ahead, plans

SHAPE, SIZE = (8, 64, 28, 28), (20, 20)
CHANNELS_LAST, CONTIGUOUS = torch.channels_last, torch.contiguous_format


class Compiled:
    """A stand-in for the compiler: which kernels are asked for, on which devices."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernels: list[tuple[str, object, str]] = []
        self.devices: set[int] = set()
        self.error: type[Exception] | None = None

        def device(index: int) -> AbstractContextManager[None]:
            self.devices.add(index)
            return nullcontext()

        monkeypatch.setattr(torch.cuda, "device", device)
        for name in ("forward_kernel", "backward_kernel", "halves_forward_kernel", "halves_backward_kernel"):
            monkeypatch.setattr(getattr(plans, name), "warmup", self.warmup(name))

    def warmup(self, name: str) -> Any:
        def ask(*arguments: Any, grid: tuple[int], **named: Any) -> None:
            self.kernels.append((name, arguments[:3], str(named)))
            if self.error is not None:
                raise self.error("no compiler")

        return ask


def run(learned: tuple[Any, ...]) -> None:
    """Do what the background thread does, to its end."""
    ahead.compile_ahead(*learned)
    ahead._waiting.put(None)
    ahead._compile_all()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiled]:
    monkeypatch.setattr(ahead, "_start", lambda: None)
    monkeypatch.setattr(ahead, "_seen", {None})
    ahead.compile_ahead.cache_clear()
    yield Compiled(monkeypatch)
    ahead.compile_ahead.cache_clear()


def learned(reduce: str = "max", layout: torch.memory_format = CONTIGUOUS, device: int = 1) -> tuple[Any, ...]:
    return SHAPE, SIZE, layout, torch.bfloat16, reduce, True, device


def launched(size: int, reduce: str, layout: torch.memory_format) -> set[tuple[str, str]]:
    """The kernels of a training step at a square size, with their constants and options."""
    kinds = [("sample", True, False), ("mean", False, True)] if reduce == "sample" else [(reduce, True, True)]
    asked = [plans.forward_launch(SHAPE, (size, size), layout, torch.bfloat16, reduce, reduce == "max")]
    asked += [plans.backward_launch(SHAPE, (size, size), layout, torch.bfloat16, *kind) for kind in kinds]
    return {(one.kernel.__name__, str(one.constants | one.options)) for one in asked if one is not None}


@pytest.mark.parametrize("layout", [CONTIGUOUS, CHANNELS_LAST])
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
def test_every_kernel_that_square_sizes_need_is_compiled_once(
    reduce: str, layout: torch.memory_format, compiled: Compiled
) -> None:
    run(learned(reduce, layout))
    found = [(name, named) for name, _, named in compiled.kernels]
    assert len(set(found)) == len(found)
    assert compiled.devices == {1}
    needed = set[tuple[str, str]]().union(*(launched(size, reduce, layout) for size in range(4, 57)))
    assert needed - launched(SIZE[0], reduce, layout) <= set(found)


def test_sizes_that_were_foreseen_ask_for_nothing_more(compiled: Compiled) -> None:
    run(learned())
    before = len(compiled.kernels)
    assert before > 2
    for size in ((19, 20), (14, 14), (30, 29)):
        run((SHAPE, size, *learned()[2:]))
    assert len(compiled.kernels) == before
    run(learned(device=0))  # another device has kernels of its own
    assert len(compiled.kernels) == 2 * before


@pytest.mark.parametrize("error", [RuntimeError, OSError, TritonError])
def test_what_cannot_be_compiled_is_passed_over(error: type[Exception], compiled: Compiled) -> None:
    compiled.error = error
    run(learned())
    assert len(compiled.kernels) > 2


@pytest.mark.usefixtures("compiled")
def test_more_maps_than_the_queue_holds_are_left_out_without_waiting() -> None:
    for device in range(2 * ahead._waiting.maxsize):
        ahead.compile_ahead(*learned(device=device))
    assert ahead._waiting.full()
    while not ahead._waiting.empty():
        ahead._waiting.get()


WITHOUT_A_GPU = """
import contextlib, time, torch
from benchmarks.gpu.launches import HOPPER, use_target
from dynpool.resizers.kernels.triton import ahead, plans
from triton.runtime.jit import MockTensor

use_target(HOPPER)
torch.cuda.device = contextlib.nullcontext
learned = (2, 16, 8, 8), (12, 12), torch.contiguous_format, torch.bfloat16, "max", True, 0
"""


def python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_GPU + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr == ""


def test_a_launch_finds_what_was_compiled_in_the_background() -> None:
    python("""
asked = []
kernels = plans.forward_kernel, plans.backward_kernel
for kernel in kernels:
    kernel._do_compile = lambda key, *given: asked.append(key)
ahead.compile_ahead(*learned)
while not ahead._waiting.empty() or len(asked) < 2:
    time.sleep(0.05)
ahead._waiting.put(None)
next(thread for thread in __import__("threading").enumerate() if thread.name == "dynpool compiles ahead").join()
foreseen = set(asked)
x, y, winner = torch.empty(2, 16, 8, 8).bfloat16(), torch.empty(2, 16, 3, 3).bfloat16(), torch.empty(1).byte()
forward = plans.forward_launch(x.shape, (3, 3), *learned[2:5], True)
backward = plans.backward_launch(x.shape, (3, 3), *learned[2:5], True, True)
for launch, tensors in ((forward, (x, y, winner)), (backward, (y, x, winner, x, torch.empty(2)))):
    launch.kernel.warmup(*tensors, *launch.numbers, grid=(1,), **launch.constants, **launch.options)
assert set(asked) == foreseen, set(asked) - foreseen
""")


def test_the_process_ends_while_kernels_are_compiled() -> None:
    python("ahead.compile_ahead(*learned)\ntime.sleep(0.5)\nassert not ahead._waiting.queue")
