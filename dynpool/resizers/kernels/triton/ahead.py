"""Kernels are compiled in the background before a learned size needs them, so that training does not wait for them.

One daemon thread compiles for all maps, one kernel at a time. It launches and loads nothing, so graphs may be captured
meanwhile. What cannot be compiled is passed over: the error comes up where the kernel is used.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

import torch
from triton.runtime import JITFunction

from dynpool.resizers.kernels.layout import accumulator

from .plans import Launch, backward_launch, forward_launch
from .usable import ERRORS

__all__ = ["compile_ahead"]

_WAIT = 30.0  # seconds that the process waits for the kernel being compiled, at most, when it ends: one takes about one
_waiting: Queue[tuple[Any, ...] | None] = Queue(maxsize=64)
_seen: set[object] = {None}  # kernels that are compiled, or will be
_ending = Event()


@lru_cache(maxsize=1024)
def compile_ahead(shape: tuple[int, ...], size: tuple[int, int], *how: Any) -> None:
    """Have the kernels compiled that a learned map's neighbours will need, unless its own were foreseen.

    Args:
        shape: (N, C, H, W).
        size: (H_out, W_out), as it is now.
        how: the map's layout and dtype, the reduction, whether x needs a gradient beside alpha, the device's index.
    """
    needed = {_key(*each) for each in _launches(shape, size, *how)}
    if needed <= _seen or torch.version.hip is not None:  # AMD's kernels depend on sizes too
        return
    _start()
    with suppress(Full):  # then this map will be met again, at another size
        _waiting.put_nowait((shape, size, *how))
        _seen.update(needed)


def _launches(
    shape: tuple[int, ...],
    size: tuple[int, int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    reduce: str,
    need_x: bool,
    device: int,
) -> Iterator[tuple[Launch | None, tuple[torch.dtype, ...], int]]:
    """What a training step launches for such maps, with the types of its pointers; plans' caches are left alone."""
    forward, backward = forward_launch.__wrapped__, backward_launch.__wrapped__
    kind, pointers = (shape, size, layout, dtype), (dtype, dtype, torch.uint8)
    yield forward(*kind, reduce, reduce == "max"), pointers, device
    if reduce == "sample" and need_x:
        yield backward(*kind, reduce, True, False), (*pointers, dtype, dtype), device
    given = ("mean", False) if reduce == "sample" else (reduce, need_x)
    yield backward(*kind, *given, True), (*pointers, dtype, accumulator(dtype)), device


def _neighbours(shape: tuple[int, ...], size: tuple[int, int]) -> Iterator[tuple[tuple[int, ...], tuple[int, int]]]:
    """Shapes and sizes that training may come to, the nearest first: outputs from 1/8 of the map to twice its size, as
    pools are bounded by default, and maps from half to twice as large, as earlier sizes are learned too.
    """
    n, c, *pixels = shape
    for step in range(1, 2 * max(pixels)):
        for move in ((step, step), (step, 0), (0, step), (-step, -step), (-step, 0), (0, -step)):
            out = size[0] + move[0], size[1] + move[1]
            if all(max(1, whole // 8) <= k <= 2 * whole for k, whole in zip(out, pixels, strict=True)):
                yield shape, out
            moved = pixels[0] + move[0], pixels[1] + move[1]
            if all(whole <= 2 * k <= 4 * whole for k, whole in zip(moved, pixels, strict=True)):
                yield (n, c, *moved), size


def _key(launch: Launch | None, types: tuple[torch.dtype, ...], device: int) -> object:
    if launch is None or not isinstance(launch.kernel, JITFunction):  # plain PyTorch, or Triton interprets
        return None
    return launch.kernel.__name__, types, device, str(launch.constants), str(launch.options)


@lru_cache(maxsize=1)
def _start() -> None:
    thread = Thread(target=_compile_all, name="dynpool compiles ahead", daemon=True)
    thread.start()
    atexit.register(_stop, thread)  # Python must not end while a compiler runs in one of its threads


def _stop(thread: Thread) -> None:
    _ending.set()
    with suppress(Full):
        _waiting.put_nowait(None)
    thread.join(_WAIT)


def _compile_all() -> None:
    while (learned := _waiting.get()) is not None:
        shape, size, *how = learned
        for neighbour in _neighbours(shape, size):
            for launch, types, device in _launches(*neighbour, *how):
                if _ending.is_set():
                    return
                key = _key(launch, types, device)
                if launch is not None and key not in _seen:
                    _seen.add(key)
                    with suppress(*ERRORS), torch.cuda.device(device):
                        launch.kernel.warmup(*types, *launch.numbers, grid=(1,), **launch.constants, **launch.options)
