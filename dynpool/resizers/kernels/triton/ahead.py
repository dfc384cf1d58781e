"""Kernels are compiled in the background before a learned size needs them, so that training does not wait for them.

One daemon thread compiles for all maps, one kernel at a time. It launches and loads nothing, so graphs may be captured
meanwhile. What cannot be compiled is passed over: the error comes up where the kernel is used.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from queue import Full, Queue
from threading import Event, Thread

import torch
from triton.runtime import JITFunction

from dynpool.resizers.kernels.layout import accumulator

from .backward import alpha_kernel
from .plans import Launch, backward_launch, forward_launch
from .usable import ERRORS

__all__ = ["compile_ahead"]

_WAIT = 30.0  # seconds that the process waits for the kernel being compiled, at most, when it ends: one takes about one
_waiting: Queue[_LearnedMap | None] = Queue(maxsize=64)
_seen: set[object] = set()  # kernels that are compiled, or will be
_ending = Event()


@dataclass(frozen=True)
class _LearnedMap:
    """Maps (N, C, H, W) pooled to a learned size, and what is asked of their backward pass on which device."""

    shape: tuple[int, ...]
    size: tuple[int, int]
    layout: torch.memory_format
    dtype: torch.dtype
    reduce: str
    need_x: bool
    device: int

    def launches(
        self, shape: tuple[int, ...], size: tuple[int, int]
    ) -> Iterator[tuple[Launch | None, tuple[torch.dtype, ...]]]:
        """What such maps launch at other sizes, and the types of its pointers."""
        forward, backward = forward_launch.__wrapped__, backward_launch.__wrapped__  # the caches are for what is used
        kind, byte = (shape, size, self.layout, self.dtype), torch.uint8
        yield forward(*kind, self.reduce, self.reduce == "max"), (self.dtype, self.dtype, byte)
        pointers = (self.dtype, self.dtype, byte, self.dtype)
        if self.reduce == "sample":
            if self.need_x:
                yield backward(*kind, "sample", True, False), (*pointers, self.dtype)
            yield backward(*kind, "mean", False, True), (*pointers, accumulator(self.dtype))
        else:
            yield backward(*kind, self.reduce, self.need_x, True), (*pointers, accumulator(self.dtype))

    def neighbours(self) -> Iterator[tuple[tuple[int, ...], tuple[int, int]]]:
        """Shapes and sizes that training may come to, the nearest first: outputs from 1/8 of the map to twice its
        size, as pools are bounded by default, and maps from half to twice as large, as earlier sizes are learned too.
        """
        n, c, height, width = self.shape
        for step in range(2 * max(height, width)):
            for rows, columns in ((step, step), (step, 0), (0, step), (-step, -step), (-step, 0), (0, -step)):
                size = self.size[0] + rows, self.size[1] + columns
                if all(max(1, whole // 8) <= k <= 2 * whole for k, whole in zip(size, (height, width), strict=True)):
                    yield self.shape, size
                pixels = height + rows, width + columns
                if all(whole <= 2 * k <= 4 * whole for k, whole in zip(pixels, (height, width), strict=True)):
                    yield (n, c, *pixels), self.size


@lru_cache(maxsize=1024)
def compile_ahead(
    shape: tuple[int, ...],
    size: tuple[int, int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    reduce: str,
    need_x: bool,
    device: int,
) -> None:
    """Have the kernels compiled that a learned map's neighbours will need, unless its own were foreseen.

    Args:
        shape: (N, C, H, W).
        size: (H_out, W_out), as it is now.
        layout: of x.
        dtype: of x.
        reduce: "max", "mean" or "sample".
        need_x: whether backward passes give a gradient to x beside that to alpha.
        device: index of the GPU.
    """
    if torch.version.hip is not None or not isinstance(alpha_kernel, JITFunction):
        return  # AMD's kernels depend on sizes too; or Triton interprets
    learned = _LearnedMap(shape, size, layout, dtype, reduce, need_x, device)
    needed = {_key(learned, *each) for each in learned.launches(learned.shape, learned.size)}
    if needed <= _seen:
        return
    _start()
    with suppress(Full):  # then this map will be met again, at another size
        _waiting.put_nowait(learned)
        _seen.update(needed)


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
        for shape, size in learned.neighbours():
            for launch, types in learned.launches(shape, size):
                if _ending.is_set():
                    return
                key = _key(learned, launch, types)
                if launch is not None and key not in _seen:
                    _seen.add(key)
                    _compile(launch, types, learned.device)


def _compile(launch: Launch, types: tuple[torch.dtype, ...], device: int) -> None:
    with suppress(*ERRORS), torch.cuda.device(device):
        launch.kernel.warmup(*types, *launch.numbers, grid=(1,), **launch.constants, **launch.options)


def _key(learned: _LearnedMap, launch: Launch | None, types: tuple[torch.dtype, ...]) -> object:
    if launch is None:
        return None
    return launch.kernel.__name__, types, learned.device, str(launch.constants), str(launch.options)
