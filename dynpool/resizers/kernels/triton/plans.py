"""How maps are cut: the tiles of a program, how many of them, and so which kernel is launched with what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl

from dynpool.resizers.kernels.layout import accumulator
from dynpool.size_math import cells_over_a_pixel

from .backward import alpha_kernel, backward_kernel
from .forward import forward_kernel
from .halves import halves_backward_kernel, halves_forward_kernel

__all__ = ["Launch", "alpha_launch", "backward_launch", "forward_launch"]

_THREADS, _FEWEST = 128, 32  # of a program: as a rule, and where there are too few programs
# what a thread takes at once: bytes where channels are lanes, a whole vector; else columns, whose offsets and weights
# take registers
_VECTOR, _COLUMNS = 16, 4
_LANES = 128  # at most so many elements of a tile in the direction of memory
# across, that a program takes in channels_last: neighbours read the same, so at alpha 1 the L2 cache delivers 3.8 bytes
# a pixel instead of 6.3 in the forward pass, and 7.6 instead of 12 in the backward pass (bfloat16)
_POSITIONS = 2
_CELLS = 5  # across a tile, whose weights a thread keeps, at most: enough for one pixel of a map that doubles
# of a thread, at most, by what it adds up in: room for three programs on a multiprocessor, or two. Said to the
# compiler, which would else keep below rounder numbers by moving values to local memory.
_REGISTERS = {torch.float32: 168, torch.float64: 240}
_PROCESSORS = 132  # of an H100 or H200. A constant: sums have the same order on every card
# lines of a map that a program walks over, at least, as a walk begins with two that belong to others; and where that
# leaves processors idle, since each line of a walk waits for memory
_LINES, _FEWEST_LINES = 8, 2
_PARTIALS = 4096  # partial sums that the second backward launch loads at once: large maps have a few thousand
_PIXELS, _INT32 = 2**28, 2**31  # limits of a kernel: of pixels along an axis, of offsets within a plane or row
_ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}


@dataclass(frozen=True, eq=False)
class Launch:
    """A kernel with all its arguments but tensors: numbers, then constants as the kernel names them, and options."""

    kernel: Any
    programs: int
    numbers: tuple[int, ...]
    constants: dict[str, Any]
    options: dict[str, int] = field(default_factory=dict)
    kept: dict[Any, Callable[..., object]] = field(default_factory=dict)  # compiled, by what else it was compiled for


@lru_cache(maxsize=1024)
def forward_launch(
    shape: Sequence[int],
    size: tuple[int, int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    reduce: str,
    keep: bool,
) -> Launch | None:
    """The launch for maps of this shape (N, C, H, W) pooled to this size; None if they are too large.

    It follows from shapes alone, so that sums have the same order in every run. Powers of two keep the number of
    compiled kernels small while learned sizes change.
    """
    out = (shape[0], shape[1], *size)
    if _too_large(shape) or _too_large(out):
        return None
    each = _vector(shape[1], layout, dtype)
    wanted: dict[str, Any] = {"REDUCE": reduce, "KEEP": keep}
    if reduce != "sample" and _halved(shape, size):
        return _launch(halves_forward_kernel, out, layout, dtype, each, each, (*shape, *size), wanted)
    wanted["POSITIONS"] = _POSITIONS if layout == torch.channels_last else 1
    return _launch(forward_kernel, out, layout, dtype, each, each, (*shape, *size), wanted)


@lru_cache(maxsize=1024)
def backward_launch(
    shape: Sequence[int],
    size: Sequence[int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    reduce: str,
    need_x: bool,
    need_alpha: bool,
) -> Launch | None:
    """The launch for the gradients of such maps; None as well if a pixel gathers from too many cells."""
    out = (shape[0], shape[1], *size)
    numbers = (*shape, *size)
    wanted: dict[str, Any] = {"PIXELS": need_x, "ALPHA": need_alpha}
    each = vector = _vector(shape[1], layout, dtype)
    if _too_large(shape) or _too_large(out):
        return None
    if reduce == "max" and _halved(shape, size):
        return _launch(halves_backward_kernel, out, layout, dtype, each, vector, numbers, wanted)
    lines, across = (3, 2) if layout == torch.channels_last else (2, 3)
    positions = _POSITIONS if layout == torch.channels_last else 1
    cells = cells_over_a_pixel(shape[across], out[across], reduce, positions)
    if cells > _CELLS and positions > 1:
        positions, cells = 1, cells_over_a_pixel(shape[across], out[across], reduce)
    if cells > _CELLS:
        return None
    if layout == torch.contiguous_format:  # as registers allow: each column has weights of its own
        each = vector = _COLUMNS // 2
        each *= 1 if cells > 3 or dtype == torch.float64 else 2
    cells = min(next(count for count in (2, 3, _CELLS) if count >= cells), out[across])  # fewer kernels
    queries = (1 if reduce == "sample" else 2) * out[lines]
    wanted = {"REDUCE": reduce, **wanted, "CELLS": cells, "POSITIONS": positions, "FAR": shape[lines] > queries}
    return _launch(backward_kernel, shape, layout, dtype, each, vector, numbers, wanted)


@lru_cache(maxsize=1024)
def alpha_launch(count: int, size_in: Sequence[int], size: Sequence[int], stride: int) -> Launch:
    """The launch that adds up so many partial sums; alpha has such a stride."""
    return Launch(alpha_kernel, 2, (count, stride, *size_in, *size), {"BLOCK": _PARTIALS}, {"num_warps": 8})


def _vector(channels: int, layout: torch.memory_format, dtype: torch.dtype) -> int:
    """How many channels of one pixel a thread takes, a whole vector or what divides their number; or of a row."""
    each = _VECTOR // dtype.itemsize if layout == torch.channels_last else _COLUMNS
    while layout == torch.channels_last and each > 2 and channels % each:
        each //= 2
    return each


def _launch(
    kernel: Any,
    shape: Sequence[int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    each: int,
    vector: int,
    numbers: tuple[int, ...],
    wanted: dict[str, Any],
) -> Launch:
    """To walk over a map of this shape, ``each`` elements a thread, ``vector`` of them beside each other in memory."""
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    lines, across, inner, outer = (width, height, c, n) if channels_last else (height, 1, width, n * c)
    lanes = min(triton.next_power_of_2(inner), _LANES)
    if lanes > 16 and channels_last:  # as few as possible for nothing
        lanes = min((128, 64, 32, 16), key=lambda count: triton.cdiv(inner, count) * count)
    elif lanes > 16:  # not many for nothing, and not many kernels: learned sizes change the width
        lanes = 64 if 5 * triton.cdiv(inner, 64) * 64 <= 6 * inner else 16
    most = wanted.get("POSITIONS", 1)
    for threads in (_THREADS, _FEWEST):
        planes = max(1, threads * each // lanes)
        positions = min(most, planes)
        planes = min(positions * triton.next_power_of_2(outer), planes)
        places = triton.cdiv(across, positions) * triton.cdiv(inner, lanes) * triton.cdiv(outer, planes // positions)
        if places * max(1, lines // _LINES) >= _PROCESSORS:
            break
    resident = 8 if kernel in (halves_forward_kernel, halves_backward_kernel) else 3  # programs on a multiprocessor
    lines_each = triton.cdiv(lines, _walks(lines, places, 2 if dtype == torch.float64 else resident))
    if "POSITIONS" in wanted:
        wanted["POSITIONS"] = positions
    constants = {
        **wanted, "CHANNELS_LAST": channels_last, "PLANES": planes, "LANES": lanes,
        "ALIGN": vector if inner % vector == 0 else 1, "ACC": _ACCUMULATORS[accumulator(dtype)],
    }  # fmt: skip
    if kernel is backward_kernel:
        constants["WHOLE"] = lines_each == lines
    options = _options(planes * lanes // each, dtype)
    return Launch(kernel, places * triton.cdiv(lines, lines_each), (*numbers, lines_each), constants, options)


def _walks(lines: int, places: int, resident: int) -> int:
    """Into how many walks to cut the lines, for the least time: of waves, each as long as a walk and its beginning."""

    def time(walks: int) -> int:
        each = triton.cdiv(lines, walks)
        return triton.cdiv(places * triton.cdiv(lines, each), _PROCESSORS * resident) * (each + 2)

    full = places * (lines // _LINES) >= _PROCESSORS * resident
    return min(range(1, max(1, lines // (_LINES if full else _FEWEST_LINES)) + 1), key=time)


@lru_cache(maxsize=1)
def _threads_of_a_warp() -> int:
    """32, or 64 on those AMD GPUs whose waves have so many."""
    return 32 if torch.version.hip is None else int(torch.cuda.get_device_properties().warp_size)


def _options(threads: int, dtype: torch.dtype) -> dict[str, int]:
    options = {"num_warps": max(1, threads // _threads_of_a_warp())}
    if torch.version.hip is None:  # the compiler for AMD does not know it
        options["maxnreg"] = _REGISTERS[accumulator(dtype)]
    return options


def _halved(shape: Sequence[int], size: Sequence[int]) -> bool:
    """Whether the queries of a cell are the pixels of a window of 2 x 2."""
    return shape[2] == 2 * size[0] and shape[3] == 2 * size[1]


def _too_large(shape: Sequence[int]) -> bool:
    """Whether the kernels' 32 bits do not suffice for such maps: of one plane, one row, or the number of planes."""
    n, c, height, width = shape
    most = max(height * width, width * c, n * c, n * height)
    return max(height, width) >= _PIXELS or most >= _INT32
