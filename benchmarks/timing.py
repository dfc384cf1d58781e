"""Times of calls, measured in turns so that other load on the machine affects all of them; with events on a GPU.

On a CPU a single thread's time is its own, while it runs: what other programs take does not count.

On a GPU a gigabyte is written before each call, to flush the L2 cache. That keeps the device busy for about 0.3 ms.
Issuing a composition of many operators takes the host longer, and then the time between two events would be host time.
So the flush is repeated until the host issues all of a call before the device starts on it. Host time is measured
separately.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

__all__ = ["enough", "host_time", "in_turns", "peak_memory"]

Call = Callable[[], object]

_FLUSHED = 2**30  # bytes, many times the size of any L2 cache
_DOUBLINGS = 6  # at most this many doublings of the flushes, to about 20 ms
_SECONDS = 0.03  # approximate GPU time per call of a comparison


def in_turns(calls: Sequence[Call], device: str, rounds: int, least: int = 10) -> list[list[float]]:
    """Microseconds of each call in each round. On a GPU slow calls get fewer rounds, but at least `least`."""
    return _by_events(calls, rounds, least) if device == "cuda" else _by_clock(calls, rounds)


def _by_clock(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        for call, found in zip(calls, times, strict=True):
            start = clock()
            call()
            if turn > 0:  # the first round is a warm-up
                found.append(1e6 * (clock() - start))
    return times


def _by_events(calls: Sequence[Call], rounds: int, least: int) -> list[list[float]]:
    for _ in range(2):  # compiles and autotunes
        for call in calls:
            call()
    flushes = [
        2 * enough(partial(_overtaken, call)) for call in calls
    ]  # twice as many, as the host may be slower at times
    torch.cuda.synchronize()
    start = time.perf_counter()
    for call, count in zip(calls, flushes, strict=True):
        _timed(call, count)
    torch.cuda.synchronize()
    each = (time.perf_counter() - start) / len(calls)
    rounds = max(least, min(rounds, int(_SECONDS / each)))
    events = [[_timed(call, count) for call, count in zip(calls, flushes, strict=True)] for _ in range(rounds)]
    torch.cuda.synchronize()
    return [[1e3 * begin.elapsed_time(end) for begin, end in found] for found in zip(*events, strict=True)]


def enough(overtaken: Callable[[int], bool]) -> int:
    """The smallest power of two of flushes with which the device does not overtake the host.

    A call that synchronises with the device is always overtaken: the result is then 1.
    """
    counts = [2**power for power in range(_DOUBLINGS + 1)]
    return next((count for count in counts if not overtaken(count)), 1)


def _overtaken(call: Call, flushes: int) -> bool:
    """Whether the device, after the given number of flushes, starts a call before the host has issued all of it.

    Then the time between the call's events is partly host time.
    """
    torch.cuda.synchronize()
    begin, _ = _timed(call, flushes)
    return begin.query()


def _timed(call: Call, flushes: int) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """Events before and after a call, which starts with a flushed cache."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(flushes):
        _flushed().zero_()
    begin.record()
    call()
    end.record()
    return begin, end


@lru_cache(maxsize=1)
def _flushed() -> Tensor:
    return torch.empty(_FLUSHED, dtype=torch.uint8, device="cuda")


def host_time(call: Call, device: str, repeats: int = 20) -> float | None:
    """Microseconds that the host takes to issue a call, without waiting for the device; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):  # synchronise each time, so that the launch queue never fills
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
        torch.cuda.synchronize()
    return sorted(times)[repeats // 2]


def peak_memory(call: Call, device: str) -> int | None:
    """Peak memory in bytes beyond what was allocated before the call; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
