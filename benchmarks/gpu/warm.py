"""Part "warm": all kernels that the other parts need are compiled into Triton's cache, in parallel.

Without a GPU they are compiled for sm_90, a few of them if tiny.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from itertools import islice, takewhile

import torch
from triton.runtime import driver

from benchmarks.gpu import headline, integrate, step
from benchmarks.gpu.context import Context
from benchmarks.gpu.launches import HOPPER, Launch, compile_launch, launches, use_target
from benchmarks.gpu.maps import Map, shapes
from benchmarks.gpu.rows import FAILED, MEASURED, PASSED, SKIPPED, Rows, path_of

__all__ = ["main"]

_EVERY = 12  # of the kernels is compiled, if tiny


def main(context: Context) -> None:
    """A row for each kernel, as it is compiled. Networks are looked at while the first kernels are compiled."""
    target = driver.active.get_current_target() if context.device == "cuda" else HOPPER
    with Rows(path_of(context.out, "warm"), ("seconds",), context.device) as rows:
        begin, done = time.perf_counter(), 0
        in_time = takewhile(lambda one: context.left() > 0, _maps(context.tiny))  # the pool ends only when they do
        todo = islice(launches(in_time), None, None, _EVERY if context.tiny else 1)
        processes = os.cpu_count() or 1
        start = multiprocessing.get_context("spawn")
        with start.Pool(processes, initializer=use_target, initargs=(target,)) as pool:
            found = pool.imap_unordered(_compile, todo)
            while True:
                try:
                    what, seconds, error = found.next(timeout=max(context.left(), 0.0))
                except StopIteration:
                    break
                except multiprocessing.TimeoutError:
                    rows.add("other kernels", SKIPPED, note="no time was left for them")
                    break  # the end of the pool stops those that still compile
                rows.add(what, FAILED if error else PASSED, note=error, seconds=seconds)
                done += 1
        seconds = time.perf_counter() - begin
        rows.add(f"{done} kernels by {processes} processes in {seconds:.0f} s", MEASURED, seconds=seconds)


def _maps(tiny: bool) -> Iterator[Map]:
    """In the order of the parts, so that what comes first is there if time runs out."""
    yield from shapes(tiny)
    yield from integrate.maps(tiny)
    yield from headline.maps(tiny)
    yield from step.maps(tiny)


def _compile(launch: Launch) -> tuple[str, float, str]:
    """What was compiled, in how many seconds, and the error if it was not."""
    torch.set_num_threads(1)
    begin, error = time.perf_counter(), ""
    try:
        compile_launch(launch)
    except Exception as raised:  # noqa: BLE001 - a compiler raises what it likes; the row says it, the others go on
        error = f"{type(raised).__name__}: {raised}"
    named = ", ".join(f"{name}={value}" for name, value in launch.named)
    types = ", ".join(str(value) for value in launch.arguments[:1])
    return f"{launch.kernel}({types}; {named})", time.perf_counter() - begin, error
