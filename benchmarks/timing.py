"""Times of calls taken in turns, so that whatever else the machine does meets them all; on a GPU by events.

On a GPU a gigabyte is written before each call: it leaves nothing of use in the L2 cache, and takes so long that the
host has issued the whole call before the device starts on it. What the host needs is measured apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["host_time", "in_turns", "peak_memory"]

Call = Callable[[], object]

_FLUSHED = 2**30  # bytes, many times any L2 cache
_SECONDS = 0.03  # of a GPU for each call of a comparison, about


def in_turns(calls: Sequence[Call], device: str, rounds: int) -> list[list[float]]:
    """Microseconds of each call in each round; on a GPU in fewer rounds if they take long, but at least ten."""
    return _by_events(calls, rounds) if device == "cuda" else _by_clock(calls, rounds)


def _by_clock(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn > 0:  # the first is for warming up
                found.append(1e6 * (time.perf_counter() - start))
    return times


def _by_events(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    flushed = _flushed()
    for _ in range(2):  # compiles and autotunes
        for call in calls:
            call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for call in calls:
        flushed.zero_()
        call()
    torch.cuda.synchronize()
    each = (time.perf_counter() - start) / len(calls)
    rounds = max(10, min(rounds, int(_SECONDS / each)))
    events = [[[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)] for _ in calls]
    for turn in range(rounds):
        for call, found in zip(calls, events, strict=True):
            flushed.zero_()
            found[turn][0].record()
            call()
            found[turn][1].record()
    torch.cuda.synchronize()
    return [[1e3 * begin.elapsed_time(end) for begin, end in found] for found in events]


@lru_cache(maxsize=1)
def _flushed() -> Tensor:
    return torch.empty(_FLUSHED, dtype=torch.uint8, device="cuda")


def host_time(call: Call, device: str, repeats: int = 20) -> float | None:
    """Microseconds in which the host issues a call, the device not waited for; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):  # waiting each time, so that the queue of launches never fills
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
        torch.cuda.synchronize()
    return sorted(times)[repeats // 2]


def peak_memory(call: Call, device: str) -> int | None:
    """Bytes allocated at the same time beyond what was there before; None where PyTorch does not count."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
