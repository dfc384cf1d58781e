"""DynOPool as Triton kernels: one launch forward, two backward, none of them waiting for the host.

The aim is that each byte of x, y, winners and their gradients crosses the DRAM bus once, and that the arithmetic stays
hidden behind that. A program owns a tile of one row: columns by planes, with the direction in which memory runs
(columns if contiguous, channels if channels_last) along the lanes, so that both layouts are read and written as they
are. All that depends on the row is then uniform in a program, and what depends on the column is found once for several
groups of planes, which it walks through. The up to four rows of pixels under a row of cells overlap with those of the
next program, which runs beside it: they come from the L2 cache.

The backward pass is a gather: a program owns pixels, and adds up the cells that cover each of them, in a fixed order.
The gradient to alpha is the inner product of x with two more such sums, whose weights are the derivatives of the
bilinear ones. In pixels, not in cells, x is read in whole vectors although winners differ from channel to channel,
and nothing but x is read that the gradient to x does not need anyway: the bytes are those of the floor. Each program
leaves two partial sums, which the second launch adds up in float64, in a fixed order. There are no atomics, and no
autotuning either: it would let timings decide the order of sums. Where both sizes are halved, as at alpha = 2, the
queries are the pixels themselves: then cells own them, and little arithmetic is left.

Positions are rational and stay so: floor and fraction come from integer division, exact at every size.

Here are the launchers and how maps are cut. The kernels are in ``triton_forward``, ``triton_backward`` and
``triton_halves``, their common parts in ``triton_tiles``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..sizes import cells_over_a_pixel
from .layout import accumulator, memory_format
from .triton_backward import alpha_kernel, backward_kernel
from .triton_forward import forward_kernel
from .triton_halves import halves_backward_kernel, halves_forward_kernel

__all__ = ["backward", "forward"]

_THREADS = 128  # of a program, at most
# bytes that a thread takes at once where channels are lanes: a whole vector. Contiguous columns have offsets, and in the
# backward pass weights, of their own each, which take registers: there are fewer of them, or one beside other planes'.
_VECTOR, _FEW = 16, 4
_LANES = 128  # at most so many of them in the direction of memory
_CELLS = 4  # across a pixel, whose weights a thread keeps: as many as there are while a map grows by less than half
_CONTIGUOUS = {1: (4, 2), 2: (4, 2), 3: (4, 1), 4: (2, 2)}  # by these: elements, and columns, of a thread
# of a thread, at most, by what it adds up in: room for three programs on a multiprocessor, or two. Said to the
# compiler, which would else keep below rounder numbers by moving values to local memory.
_REGISTERS = {torch.float32: 168, torch.float64: 240}
# enough programs to fill every multiprocessor several times over. What is left of a map is shared out: lines to walk
# over, though a walk begins with two that belong to others, or several groups of planes, for which positions are the same
_WALKS, _LINES = 2048, 8
_TILES, _STEPS = 4096, 16
_PARTIALS = 1024  # partial sums that one step of the second backward launch takes
_INT32 = 2**31
_ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}


def forward(x: Tensor, size: tuple[int, int], reduce: str, keep_winner: bool) -> tuple[Tensor, Tensor]:
    """The pooled map and the winning queries, laid out as x; one launch.

    Nothing is checked here: :func:`dynpool.functional.dynopool2d` has.

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
    wide = _is_wide(x.shape, y.shape)
    with _on(x):
        if _halves((height, width), size, reduce):
            plan = _tiles(y.shape, layout, y.dtype, wide)
            halves_forward_kernel[(plan.programs,)](
                x, y, winner, n * c, c, *size, plan.groups, plan.each,
                REDUCE=reduce, KEEP=keep, **plan.tile, **plan.options,
            )  # fmt: skip
        else:
            each = _FEW if layout == torch.contiguous_format else _VECTOR // y.itemsize
            plan = _lines(y.shape, layout, y.dtype, wide, each, _FEW)
            forward_kernel[(plan.programs,)](
                x, y, winner, n, c, height, width, *size, plan.groups, plan.each,
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
    wide, halves = _is_wide(dy.shape, shape), reduce == "max" and _halves(size_in, size, reduce)
    across = 0 if channels_last else 1
    cells = cells_over_a_pixel(size_in[across], size[across], reduce)
    if halves:
        plan = _tiles(dy.shape, layout, dy.dtype, wide)
    else:
        plan = _lines(shape, layout, dy.dtype, wide, *_elements(cells, channels_last, dy.dtype, wide))
    partials = torch.empty(0 if dalpha is None else 2 * plan.programs, dtype=accumulator(dy.dtype), device=dy.device)
    maps = (
        dy,
        dy if x is None else x.contiguous(memory_format=layout),
        winner.contiguous(memory_format=layout) if reduce == "max" else winner,
        dy if dx is None else dx,
    )
    wanted = {"PIXELS": need_x, "ALPHA": dalpha is not None, **plan.tile, **plan.options}
    with _on(dy):
        if halves:
            halves_backward_kernel[(plan.programs,)](*maps, partials, n * c, c, *size, plan.groups, plan.each, **wanted)
        else:
            backward_kernel[(plan.programs,)](
                *maps, partials, n, c, *size_in, *size, cells, plan.groups, plan.each,
                REDUCE=reduce, CELLS=min(cells, _CELLS), MORE=cells > _CELLS,
                WHOLE=plan.each == size_in[1 if channels_last else 0], **wanted,
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


def _elements(cells: int, channels_last: bool, dtype: torch.dtype, wide: bool) -> tuple[int, int]:
    """How many elements a thread of the backward kernel has, and of how many columns if the map is contiguous."""
    if channels_last:
        return _VECTOR // dtype.itemsize // (2 if wide and cells > _CELLS else 1), 1
    each, columns = _CONTIGUOUS[min(cells, _CELLS)]
    return each // (2 if dtype == torch.float64 else 1), columns


@lru_cache(maxsize=1024)
def _lines(
    shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype, wide: bool, each: int, columns: int
) -> _Plan:
    """The plan to walk over a map of this shape, with ``each`` elements a thread, of so many columns if contiguous.

    It follows from the shape alone, so that sums have the same order in every run. Powers of two keep the number of
    compiled kernels small while learned sizes change.
    """
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    lines, across, inner, outer = (width, height, c, n) if channels_last else (height, width, width, n * c)
    each = max(1, each // 2) if wide else each
    lanes = min(triton.next_power_of_2(inner), _LANES)
    planes = min(triton.next_power_of_2(outer), _THREADS * each // lanes)
    groups = triton.cdiv(c, lanes) * triton.cdiv(n, planes) if channels_last else triton.cdiv(n * c, planes)
    places = groups * (across if channels_last else triton.cdiv(width, lanes))
    lines_each = triton.cdiv(lines, max(1, min(triton.cdiv(_WALKS, places), lines // _LINES)))
    tile = {"CHANNELS_LAST": channels_last, "PLANES": planes, "LANES": lanes, **_common(layout, width, columns, dtype, wide)}
    options = _options(planes * lanes // each, dtype)
    return _Plan(tile, options, groups, lines_each, places * triton.cdiv(lines, lines_each))


@lru_cache(maxsize=1024)
def _tiles(shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype, wide: bool) -> _Plan:
    """The plan to cut a map of this shape into tiles of a row: some columns, of some planes; it, too, of shape alone."""
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    inner, outer = (c, width) if channels_last else (width, n * c)
    each = 2 * _FEW if channels_last and dtype != torch.float64 else _FEW
    each = each // 2 if wide else each
    lanes = min(triton.next_power_of_2(inner), _LANES)
    along = min(triton.next_power_of_2(outer), _THREADS * each // lanes)
    groups = n * triton.cdiv(c, lanes) if channels_last else triton.cdiv(n * c, along)
    places = height * triton.cdiv(width, along if channels_last else lanes)
    steps = min(max(places * groups // _TILES, 1), _STEPS)
    tile = {"CHANNELS_LAST": channels_last, "ALONG": along, "LANES": lanes, **_common(layout, width, _FEW, dtype, wide)}
    options = _options(along * lanes // each, dtype)
    return _Plan(tile, options, groups, steps, places * triton.cdiv(groups, steps))


def _common(layout: torch.memory_format, width: int, columns: int, dtype: torch.dtype, wide: bool) -> dict[str, Any]:
    align = columns if width % columns == 0 and layout != torch.channels_last else 1
    return {"ALIGN": align, "WIDE": wide, "ACC": _ACCUMULATORS[accumulator(dtype)]}


def _options(threads: int, dtype: torch.dtype) -> dict[str, int]:
    options = {"num_warps": max(1, threads // 32)}
    if torch.version.hip is None:  # the compiler for AMD does not know it
        options["maxnreg"] = _REGISTERS[accumulator(dtype)]
    return options


def _halves(size_in: Sequence[int], size: Sequence[int], reduce: str) -> bool:
    """Whether the queries of a cell are the pixels of a window of 2 x 2."""
    return reduce != "sample" and all(pixels == 2 * cells for pixels, cells in zip(size_in, size, strict=True))


def _is_wide(*shapes: Sequence[int]) -> bool:
    """Whether offsets, or the numerators of positions, of maps of these shapes need 64 bits."""
    longest = max(max(shape[2:]) for shape in shapes)
    return max(math.prod(shape) for shape in shapes) >= _INT32 or 8 * (longest + 1) ** 2 >= _INT32


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it that of x."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
