"""DynOPool as Triton kernels: one launch forward, two backward, none of them waiting for the host.

The aim is that each byte of x, y, winners and their gradients crosses the DRAM bus once, and that the arithmetic stays
hidden behind that, which in bfloat16 is the harder part: at alpha 1.19 an H200, by its data sheet, can issue about 70
instructions for each pixel in the time that the bytes take. So nothing is computed twice that can be kept. A program
walks over a map line by line (rows if contiguous, columns if channels_last), with the direction in which memory runs
along the lanes, so that both layouts are read and written as they are. A query lies between two lines of pixels. The
forward pass keeps these two, interpolated across already. The backward pass adds a query's gradient to the two, and
writes a line when no further query touches it. Positions along the walk are the same for a whole tile, those across are
found once.

In the backward pass a program owns lines of pixels, and each of its pixels gathers from the few cells across that cover
it, in a fixed order. The gradient to alpha meets x in the same place: nothing but x is read that the gradient to x does
not need anyway, in whole vectors although winners differ from channel to channel, so the bytes are those of the floor.
Each program leaves two partial sums, which the second launch adds up in float64, in a fixed order. There are no
atomics, and no autotuning either: it would let timings decide the order of sums. Where both sizes are halved, as at
alpha = 2, the queries are the pixels themselves: then cells own them, and little arithmetic is left.

Positions are rational and stay so: floor and fraction come from integer division, exact at every size.

Here are the launchers and how maps are cut. The kernels are in ``triton_forward`` and ``triton_backward``, which share
``triton_lines``, and in ``triton_halves``; what all of them share is in ``triton_tiles``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dynpool.resizers.kernels.layout import accumulator, memory_format
from dynpool.size_math import cells_over_a_pixel

from .backward import alpha_kernel, backward_kernel
from .forward import forward_kernel
from .halves import halves_backward_kernel, halves_forward_kernel

__all__ = ["backward", "forward"]

_THREADS = 128  # of a program, at most
# bytes that a thread takes at once where channels are lanes: a whole vector. Contiguous columns have offsets of their
# own each, and weights in the backward pass, which take registers: there are fewer, half of them of another plane
_VECTOR, _FEW = 16, 4
_LANES = 128  # at most so many of them in the direction of memory
_CELLS = 4  # across a pixel, whose weights a thread keeps: as many as there are while a map grows by less than half
# of a thread, at most, by what it adds up in: room for three programs on a multiprocessor, or two. Said to the
# compiler, which would else keep below rounder numbers by moving values to local memory.
_REGISTERS = {torch.float32: 168, torch.float64: 240}
# enough programs to fill every multiprocessor several times over: so many walk over a map's lines, of which each has a
# few at least, as a walk begins with two that belong to others; of tiles, a program takes several groups of planes
_WALKS, _LINES = 2048, 8
_TILES, _STEPS = 4096, 16
_PARTIALS = 1024  # partial sums that one step of the second backward launch takes
_INT32 = 2**31
_ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}


def forward(x: Tensor, size: tuple[int, int], reduce: str, keep_winner: bool) -> tuple[Tensor, Tensor]:
    """The pooled map and the winning queries, laid out as x; one launch.

    Nothing is checked here: :func:`dynpool.resizers.functional.dynopool2d` has.

    Args:
        x: (N, C, H, W) on a GPU, or on a CPU where Triton interprets.
        size: (H_out, W_out) in pixels.
        reduce: "max", "mean" or "sample".
        keep_winner: whether the winners of "max" are wanted, as :func:`backward` needs them.

    Returns:
        (N, C, H_out, W_out) in the dtype of x; and of the same shape, uint8, ``2 * a + b`` for row query ``a`` and
        column query ``b``, or an empty tensor if winners are not wanted or there are none.

    Raises:
        RuntimeError: by Triton, without a GPU; by PyTorch, if its memory does not suffice.
    """
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    n, c, height, width = x.shape
    y = torch.empty((n, c, *size), dtype=x.dtype, device=x.device, memory_format=layout)
    keep = keep_winner and reduce == "max"
    winner = torch.empty_like(y, dtype=torch.uint8) if keep else x.new_empty(0, dtype=torch.uint8)
    if y.numel() == 0:
        return y, winner
    plan = _forward_plan(tuple(x.shape), size, layout, x.dtype, reduce)
    with _on(x):
        if plan.halves:
            halves_forward_kernel[(plan.programs,)](
                x, y, winner, n, c, *size, plan.groups, plan.each,
                REDUCE=reduce, KEEP=keep, **plan.tile, **plan.options,
            )  # fmt: skip
        else:
            forward_kernel[(plan.programs,)](
                x, y, winner, n, c, height, width, *size, plan.each,
                REDUCE=reduce, KEEP=keep, **plan.tile, **plan.options,
            )  # fmt: skip
    return y, winner


def backward(
    dy: Tensor,
    x: Tensor | None,
    alpha: Tensor | None,
    winner: Tensor,
    size_in: tuple[int, int],
    reduce: str,
    need_x: bool,
    channels_last: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients to x, where wanted, and to alpha, where x and alpha are given; one launch or two.

    Args:
        dy: (N, C, H_out, W_out), the gradient to the pooled map, where x was.
        x: (N, C, H, W) as it was pooled; None: no gradient to alpha is wanted.
        alpha: (2,), rows and columns, in any floating dtype; None as x.
        winner: second result of :func:`forward`; not read unless ``reduce`` is "max".
        size_in: (H, W) in pixels.
        reduce: as in the forward pass.
        need_x: whether the gradient to x is wanted.
        channels_last: the layout of the gradient to x.

    Returns:
        (N, C, H, W) in the dtype of dy, and (2,) in the dtype of alpha, each None where it is not wanted.

    Raises:
        RuntimeError: as :func:`forward`.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    dy = dy.contiguous(memory_format=layout)
    n, c, *size = dy.shape
    shape = (n, c, *size_in)
    dx = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=layout) if need_x else None
    dalpha = None if x is None or alpha is None else torch.empty(2, dtype=alpha.dtype, device=alpha.device)
    if dy.numel() == 0:
        return dx, None if dalpha is None else dalpha.zero_()
    plan = _backward_plan(shape, (size[0], size[1]), layout, dy.dtype, reduce)
    partials = torch.empty(0 if dalpha is None else 2 * plan.programs, dtype=accumulator(dy.dtype), device=dy.device)
    maps = (
        dy,
        dy if x is None else x.contiguous(memory_format=layout),
        winner.contiguous(memory_format=layout) if reduce == "max" else winner,
        dy if dx is None else dx,
    )
    wanted = {"PIXELS": need_x, "ALPHA": dalpha is not None, **plan.tile, **plan.options}
    with _on(dy):
        if plan.halves:
            halves_backward_kernel[(plan.programs,)](*maps, partials, n, c, *size, plan.groups, plan.each, **wanted)
        else:
            backward_kernel[(plan.programs,)](
                *maps, partials, n, c, *size_in, *size, plan.cells, plan.each, REDUCE=reduce,
                CELLS=min(plan.cells, _CELLS), MORE=plan.cells > _CELLS, WHOLE=plan.whole, **wanted,
            )  # fmt: skip
        if alpha is not None and dalpha is not None:
            sizes = (*size_in, *size)
            alpha_kernel[(2,)](partials, alpha, dalpha, plan.programs, alpha.stride(0), *sizes, BLOCK=_PARTIALS)
    return dx, dalpha


@dataclass(frozen=True)
class _Plan:
    """How a map is cut: tiles in groups of planes, and how many groups, or lines, a program takes."""

    tile: dict[str, Any]
    options: dict[str, int]
    groups: int
    each: int
    programs: int
    whole: bool = True  # whether a program takes all lines
    halves: bool = False  # whether it is for the kernels of halved maps
    cells: int = 0  # across a pixel, in the backward pass


@lru_cache(maxsize=1024)
def _forward_plan(
    shape: tuple[int, ...], size: tuple[int, int], layout: torch.memory_format, dtype: torch.dtype, reduce: str
) -> _Plan:
    """The plan for maps of this shape (N, C, H, W) pooled to this size.

    It follows from shapes alone, so that sums have the same order in every run. Powers of two keep the number of
    compiled kernels small while learned sizes change.
    """
    out = (*shape[:2], *size)
    wide = _is_wide(shape, out)
    if reduce != "sample" and _halved(shape, size):
        return _tiles(out, layout, dtype, wide)
    each = _FEW if layout == torch.contiguous_format else _vector(shape[1], dtype)
    return _lines(out, layout, dtype, wide, each, each)


@lru_cache(maxsize=1024)
def _backward_plan(
    shape: tuple[int, ...], size: tuple[int, int], layout: torch.memory_format, dtype: torch.dtype, reduce: str
) -> _Plan:
    """The plan for the gradients of maps of this shape that were pooled to this size; as for the forward pass."""
    out = (*shape[:2], *size)
    wide = _is_wide(shape, out)
    if reduce == "max" and _halved(shape, size):
        return _tiles(out, layout, dtype, wide)
    axis = 0 if layout == torch.channels_last else 1
    cells = cells_over_a_pixel(shape[2 + axis], size[axis], reduce)
    if layout == torch.channels_last:
        half = shape[1] % 16 != 0 or (wide and cells > _CELLS)  # what the compiler does not know takes registers
        each = columns = _vector(shape[1], dtype, 2 if half else 1)
    else:
        each, columns = _columns(cells, dtype)
    return replace(_lines(shape, layout, dtype, wide, each, columns), cells=cells)


def _vector(channels: int, dtype: torch.dtype, parts: int = 1) -> int:
    """How many channels of one pixel a thread takes: a whole vector, a part of it, or what divides their number."""
    each = _VECTOR // dtype.itemsize // parts
    while each > 2 and channels % each:
        each //= 2
    return each


def _columns(cells: int, dtype: torch.dtype) -> tuple[int, int]:
    """How many elements of a contiguous map a thread of the backward kernel has, and of how many columns."""
    many = cells > _CELLS or (cells == _CELLS and dtype.itemsize > 2)  # too many weights, or too few registers left
    return _FEW // (2 if many or dtype == torch.float64 else 1), _FEW // 2


def _lines(
    shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype, wide: bool, each: int, vector: int
) -> _Plan:
    """The plan to walk over a map, with ``each`` elements a thread, ``vector`` of them beside each other in memory."""
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    lines, across, inner, outer = (width, height, c, n) if channels_last else (height, width, width, n * c)
    each = max(1, each // 2) if wide else each
    lanes = min(triton.next_power_of_2(inner), _LANES)
    planes = min(triton.next_power_of_2(outer), _THREADS * each // lanes)
    groups = triton.cdiv(c, lanes) * triton.cdiv(n, planes) if channels_last else triton.cdiv(n * c, planes)
    places = groups * (across if channels_last else triton.cdiv(width, lanes))
    lines_each = triton.cdiv(lines, max(1, min(triton.cdiv(_WALKS, places), lines // _LINES)))
    tile = {"PLANES": planes, "LANES": lanes, **_common(layout, inner, vector, dtype, wide)}
    options = _options(planes * lanes // each, dtype)
    programs = places * triton.cdiv(lines, lines_each)
    return _Plan(tile, options, groups, lines_each, programs, whole=lines_each == lines)


def _tiles(shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype, wide: bool) -> _Plan:
    """The plan to cut a halved map into tiles of a row: some columns, of some planes."""
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    inner, outer = (c, width) if channels_last else (width, n * c)
    vector = _vector(c, dtype) if channels_last else _FEW
    each = 2 * _FEW if channels_last and vector >= _FEW else vector
    each = each // 2 if wide else each
    lanes = min(triton.next_power_of_2(inner), _LANES)
    along = min(triton.next_power_of_2(outer), _THREADS * each // lanes)
    groups = n * triton.cdiv(c, lanes) if channels_last else triton.cdiv(n * c, along)
    places = height * triton.cdiv(width, along if channels_last else lanes)
    steps = min(max(places * groups // _TILES, 1), _STEPS)
    tile = {"ALONG": along, "LANES": lanes, **_common(layout, inner, vector, dtype, wide)}
    options = _options(along * lanes // each, dtype)
    return _Plan(tile, options, groups, steps, places * triton.cdiv(groups, steps), halves=True)


def _common(layout: torch.memory_format, inner: int, vector: int, dtype: torch.dtype, wide: bool) -> dict[str, Any]:
    channels_last = layout == torch.channels_last
    told = channels_last and inner % 16 == 0  # the compiler is told of such numbers of channels anyway
    align = vector if inner % vector == 0 and not told else 1
    sums = _ACCUMULATORS[accumulator(dtype)]
    return {"CHANNELS_LAST": channels_last, "ALIGN": align, "WIDE": wide, "ACC": sums}


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


def _is_wide(*shapes: Sequence[int]) -> bool:
    """Whether offsets, or the numerators of positions, of maps of these shapes need 64 bits."""
    longest = max(max(shape[2:]) for shape in shapes)
    return max(math.prod(shape) for shape in shapes) >= _INT32 or 8 * (longest + 1) ** 2 >= _INT32


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it that of x."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
