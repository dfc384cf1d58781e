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
# bytes that a thread takes at once where channels are lanes: a whole vector. Contiguous columns have offsets of their
# own each, and weights in the backward pass, which take registers: there are fewer, half of them of another plane
_VECTOR, _FEW = 16, 4
_LANES = 128  # at most so many of them in the direction of memory
_CELLS = 5  # across a pixel, whose weights a thread keeps, at most: as many as there are in maps of twice the size
# of a thread, at most, by what it adds up in: room for three programs on a multiprocessor, or two. Said to the
# compiler, which would else keep below rounder numbers by moving values to local memory.
_REGISTERS = {torch.float32: 168, torch.float64: 240}
_PROCESSORS = 132  # of an H100 or H200. A constant: sums have the same order on every card
_LINES = 8  # of a map that a program walks over, at least, as a walk begins with two that belong to others
_TILES, _STEPS = 4096, 16  # enough programs for halved maps; groups of planes that each takes, at most
_PARTIALS = 1024  # partial sums that one step of the second backward launch takes
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
    n, c, height, width = shape
    out = (n, c, *size)
    if _too_large(shape) or _too_large(out):
        return None
    wanted = {"REDUCE": reduce, "KEEP": keep}
    if reduce != "sample" and _halved(shape, size):
        return _of_tiles(halves_forward_kernel, out, layout, dtype, wanted)
    each = _FEW if layout == torch.contiguous_format else _vector(c, dtype)
    return _of_walks(forward_kernel, out, layout, dtype, each, each, (n, c, height, width, *size), wanted)


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
    n, c, *size_in = shape
    axis = 0 if layout == torch.channels_last else 1
    wanted: dict[str, Any] = {"PIXELS": need_x, "ALPHA": need_alpha}
    if _too_large(shape) or _too_large((n, c, *size)):
        return None
    if reduce == "max" and _halved(shape, size):
        return _of_tiles(halves_backward_kernel, (n, c, *size), layout, dtype, wanted)
    cells = cells_over_a_pixel(size_in[axis], size[axis], reduce)
    if cells > _CELLS:
        return None
    cells = min(next(count for count in (2, 3, _CELLS) if count >= cells), size[axis])  # fewer kernels
    if layout == torch.channels_last:
        each = columns = _vector(c, dtype)
    else:
        each, columns = _columns(cells, dtype)
    wanted = {"REDUCE": reduce, **wanted, "CELLS": cells}
    return _of_walks(backward_kernel, shape, layout, dtype, each, columns, (n, c, *size_in, *size), wanted)


@lru_cache(maxsize=1024)
def alpha_launch(count: int, size_in: Sequence[int], size: Sequence[int], stride: int) -> Launch:
    """The launch that adds up so many partial sums; alpha has such a stride."""
    return Launch(alpha_kernel, 2, (count, stride, *size_in, *size), {"BLOCK": _PARTIALS})


def _vector(channels: int, dtype: torch.dtype) -> int:
    """How many channels of one pixel a thread takes: a whole vector, or what divides their number."""
    each = _VECTOR // dtype.itemsize
    while each > 2 and channels % each:
        each //= 2
    return each


def _columns(cells: int, dtype: torch.dtype) -> tuple[int, int]:
    """How many elements of a contiguous map a thread of the backward kernel has, and of how many columns."""
    many = cells > 3 or dtype == torch.float64  # too few registers are left
    return _FEW // (2 if many else 1), _FEW // 2


def _of_walks(
    kernel: Any,
    shape: Sequence[int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    each: int,
    vector: int,
    numbers: tuple[int, ...],
    wanted: dict[str, Any],
) -> Launch:
    """To walk over a map, with ``each`` elements a thread, ``vector`` of them beside each other in memory."""
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    lines, across, inner, outer = (width, height, c, n) if channels_last else (height, 1, width, n * c)
    lanes = min(triton.next_power_of_2(inner), _LANES)
    if lanes > 16 and channels_last:  # as few as possible for nothing
        lanes = min((128, 64, 32, 16), key=lambda count: triton.cdiv(inner, count) * count)
    elif lanes > 16:  # not many for nothing, and not many kernels: learned sizes change the width
        lanes = 64 if 5 * triton.cdiv(inner, 64) * 64 <= 6 * inner else 16
    for threads in (_THREADS, _FEWEST):
        planes = min(triton.next_power_of_2(outer), max(1, threads * each // lanes))
        places = across * triton.cdiv(inner, lanes) * triton.cdiv(outer, planes)
        if places * max(1, lines // _LINES) >= _PROCESSORS:
            break
    lines_each = triton.cdiv(lines, _walks(lines, places, 2 if dtype == torch.float64 else 3))
    constants = {
        **wanted, "CHANNELS_LAST": channels_last, "PLANES": planes, "LANES": lanes, **_common(inner, vector, dtype)
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

    return min(range(1, max(1, lines // _LINES) + 1), key=time)


def _of_tiles(
    kernel: Any, shape: Sequence[int], layout: torch.memory_format, dtype: torch.dtype, wanted: dict[str, Any]
) -> Launch:
    """To cut a halved map into tiles of a row: some columns, of some planes."""
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    inner, outer = (c, width) if channels_last else (width, n * c)
    vector = _vector(c, dtype) if channels_last else _FEW
    each = 2 * _FEW if channels_last and vector >= _FEW else vector
    lanes = min(triton.next_power_of_2(inner), _LANES)
    along = min(triton.next_power_of_2(outer), _THREADS * each // lanes)
    groups = n * triton.cdiv(c, lanes) if channels_last else triton.cdiv(n * c, along)
    places = height * triton.cdiv(width, along if channels_last else lanes)
    steps = min(max(places * groups // _TILES, 1), _STEPS)
    constants = {
        **wanted, "CHANNELS_LAST": channels_last, "ALONG": along, "LANES": lanes, **_common(inner, vector, dtype)
    }  # fmt: skip
    programs = places * triton.cdiv(groups, steps)
    options = _options(along * lanes // each, dtype)
    return Launch(kernel, programs, (n, c, height, width, groups, steps), constants, options)


def _common(inner: int, vector: int, dtype: torch.dtype) -> dict[str, Any]:
    return {"ALIGN": vector if inner % vector == 0 else 1, "ACC": _ACCUMULATORS[accumulator(dtype)]}


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
