"""Times of calls taken in turns, so that whatever else the machine does meets them all; on a GPU by events.

On a GPU a gigabyte is written before each call, which leaves nothing of use in the L2 cache. That keeps the device busy
for about 0.3 ms; to issue a composition of many operators takes the host longer, and then the time between two events
would be the host's. So it is written as often as it takes for the host to issue every call before the device starts on
it. What the host needs is measured apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

__all__ = ["enough", "host_time", "in_turns", "peak_memory"]

Call = Callable[[], object]

_FLUSHED = 2**30  # bytes, many times any L2 cache
_DOUBLINGS = 6  # of the flushes, at most: to some 20 ms
_SECONDS = 0.03  # of a GPU for each call of a comparison, about


def in_turns(calls: Sequence[Call], device: str, rounds: int, least: int = 10) -> list[list[float]]:
    """Microseconds of each call in each round; on a GPU in fewer rounds if they take long, down to the least."""
    return _by_events(calls, rounds, least) if device == "cuda" else _by_clock(calls, rounds)


def _by_clock(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn > 0:  # the first is for warming up
                found.append(1e6 * (time.perf_counter() - start))
    return times


def _by_events(calls: Sequence[Call], rounds: int, least: int) -> list[list[float]]:
    for _ in range(2):  # compiles and autotunes
        for call in calls:
            call()
    flushes = [2 * enough(partial(_overtaken, call)) for call in calls]  # twice: the host may be slower at times
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
    """The least power of two of flushes with which the device does not overtake the host.

    A call that waits for the device by itself is overtaken however long the device is kept busy: for it, 1.
    """
    counts = [2**power for power in range(_DOUBLINGS + 1)]
    return next((count for count in counts if not overtaken(count)), 1)


def _overtaken(call: Call, flushes: int) -> bool:
    """Whether an idle device, given so many flushes, begins with a call before the host has issued all of it.

    Then the time between the call's events is partly the host's.
    """
    torch.cuda.synchronize()
    begin, _ = _timed(call, flushes)
    return begin.query()


def _timed(call: Call, flushes: int) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """Events before and after a call that finds nothing of use in the cache."""
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
