"""DynOPool as Triton kernels: one launch forward, two backward, none of them waiting for the host.

Everything is bound by memory, so the aim is that each byte of x, y, winners and their gradients crosses the DRAM bus
once. A program owns a tile of one row: columns by planes, with the direction in which memory runs (columns if
contiguous, channels if channels_last) along the lanes, so that both layouts are read and written as they are. All
that depends on the row is then uniform in a program. The up to four rows of pixels under a row of cells overlap with
those of the next program, which runs beside it: they come from the L2 cache.

The backward pass is a gather: a program owns pixels, and adds up the cells that cover each of them, in a fixed order.
The gradient to alpha is the inner product of x with two more such sums, whose weights are the derivatives of the
bilinear ones. In pixels, not in cells, x is read in whole vectors although winners differ from channel to channel,
and nothing but x is read that the gradient to x does not need anyway: the bytes are those of the floor. Each program
leaves two partial sums, which the second launch adds up in float64, in a fixed order. There are no atomics, and no
autotuning either: it would let timings decide the order of sums.

Positions are rational and stay so: floor and fraction come from integer division, exact at every size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..sizes import cells_over_a_pixel, queries_on_pixels
from .layout import accumulator, memory_format

__all__ = ["backward", "forward"]

_THREADS = 128  # of a program, at most
# elements of a thread: enough loads in flight to hide the latency, few enough registers for many warps. Contiguous
# columns have weights of their own each, which take registers too; float64 and offsets of 64 bits take twice as many.
_MANY, _FEW = 8, 4
_LANES = 128  # at most so many of them in the direction of memory
_CELLS = 3  # in a row, that a thread looks at together: as many as lie over a pixel while the map does not grow
# of a thread, at most, by what it adds up in: room for three programs on a multiprocessor, or two. Said to the
# compiler, which would else keep below rounder numbers by moving values to local memory.
_REGISTERS = {torch.float32: 168, torch.float64: 240}
_PARTIALS = 1024  # partial sums that one step of the second backward launch takes
_INT32 = 2**31


# ------------------------------------------------------------------------------------------------------------- tiles


@triton.jit
def _tile(planes, channels, rows, columns, CHANNELS_LAST: tl.constexpr, ALONG: tl.constexpr, LANES: tl.constexpr):
    """This program's row, columns, outer (sample, or plane n * C + c if contiguous), channels and mask of existence."""
    program = tl.program_id(0)
    along, lanes = tl.arange(0, ALONG)[:, None], tl.arange(0, LANES)[None, :]
    if CHANNELS_LAST:
        column_blocks, channel_blocks = tl.cdiv(columns, ALONG), tl.cdiv(channels, LANES)
        column = (program % column_blocks) * ALONG + along
        program //= column_blocks
        channel = (program % channel_blocks) * LANES + lanes
        program //= channel_blocks
        outer = program // rows
        mask = (column < columns) & (channel < channels)
    else:
        column_blocks = tl.cdiv(columns, LANES)
        column = (program % column_blocks) * LANES + lanes
        program //= column_blocks
        outer = (program // rows) * ALONG + along
        channel = 0
        mask = (column < columns) & (outer < planes)
    return program % rows, column, outer, channel, mask


@triton.jit
def _planes(outer, channel, channels, pixels, CHANNELS_LAST: tl.constexpr):
    """Offset of the first pixel of each plane."""
    return outer * pixels * channels + channel if CHANNELS_LAST else outer * pixels


@triton.jit
def _pixel(row, column, columns, channels, CHANNELS_LAST: tl.constexpr):
    """Offset of a pixel in its plane."""
    return (row * columns + column) * channels if CHANNELS_LAST else row * columns + column


# ----------------------------------------------------------------------------------------------------------- forward


@triton.jit
def _quotient(numerator, denominator, ACC: tl.constexpr):
    """Of two integers, rounded correctly: ``/`` is not in float32."""
    if tl.float64 == ACC:
        return numerator.to(ACC) / denominator.to(ACC)
    else:
        return tl.div_rn(numerator.to(ACC), denominator.to(ACC))


@triton.jit
def _neighbours(index, size_in, size_out, SAMPLE: tl.constexpr, ACC: tl.constexpr):
    """The two pixels that query (or sampled point) ``index`` lies between, and the weight of the second.

    A query on a pixel, or outside the map, has that pixel twice with half the weight each: a neighbour of weight zero
    would turn into NaN if it is infinite.
    """
    if SAMPLE:
        denominator = size_out
        numerator = index * size_in
    else:
        denominator = 4 * size_out
        numerator = (2 * index + 1) * size_in - 2 * size_out
    floor = (numerator + denominator) // denominator - 1  # the numerator is above -denominator
    rest = numerator - floor * denominator
    between = (rest > 0) & (floor >= 0) & (floor < size_in - 1)
    low = tl.minimum(tl.maximum(floor, 0), size_in - 1)
    weight = _quotient(rest, denominator, ACC)
    return low, tl.where(between, low + 1, low), tl.where(between, weight, 0.5)


@triton.jit
def _query(
    x,
    planes,
    row,
    column,
    width,
    channels,
    mask,
    CHANNELS_LAST: tl.constexpr,
    ON_PIXELS: tl.constexpr,
    ACC: tl.constexpr,
):
    """The bilinear values at a row position and column positions, each (low, high, weight)."""
    row_low, row_high, p = row
    low, high, q = column
    a = tl.load(x + planes + _pixel(row_low, low, width, channels, CHANNELS_LAST), mask, 0).to(ACC)
    if ON_PIXELS:
        return a
    b = tl.load(x + planes + _pixel(row_low, high, width, channels, CHANNELS_LAST), mask, 0).to(ACC)
    c = tl.load(x + planes + _pixel(row_high, low, width, channels, CHANNELS_LAST), mask, 0).to(ACC)
    d = tl.load(x + planes + _pixel(row_high, high, width, channels, CHANNELS_LAST), mask, 0).to(ACC)
    return ((1 - p) * a + p * c) * (1 - q) + ((1 - p) * b + p * d) * q


@triton.jit(do_not_specialize=["planes", "height", "width", "out_h", "out_w"])
def _forward_kernel(
    x,
    y,
    winners,
    planes,
    channels,
    height,
    width,
    out_h,
    out_w,
    REDUCE: tl.constexpr,
    KEEP: tl.constexpr,
    ON_PIXELS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr,
    LANES: tl.constexpr,
    ALIGN: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
):
    """y and, if kept, the winner 2 * a + b of each cell's queries (a, b): one row of cells, some columns and planes."""
    SAMPLE: tl.constexpr = REDUCE == "sample"
    if WIDE:  # then all that is derived from these is
        height, width, out_h, out_w = height.to(tl.int64), width.to(tl.int64), out_h.to(tl.int64), out_w.to(tl.int64)
    out_w = out_w // ALIGN * ALIGN  # tells the compiler of a width that allows vectors
    i, k, outer, channel, mask = _tile(planes, channels, out_h, out_w, CHANNELS_LAST, ALONG, LANES)
    source = _planes(outer, channel, channels, height * width, CHANNELS_LAST)
    target = _planes(outer, channel, channels, out_h * out_w, CHANNELS_LAST)
    target += _pixel(i, k, out_w, channels, CHANNELS_LAST)
    if SAMPLE:
        row = _neighbours(i, height, out_h, SAMPLE, ACC)
        column = _neighbours(k, width, out_w, SAMPLE, ACC)
        best = _query(x, source, row, column, width, channels, mask, CHANNELS_LAST, ON_PIXELS, ACC)
    else:
        best = tl.zeros((ALONG, LANES), ACC)
        winner = tl.zeros((ALONG, LANES), tl.int32)
        for query in tl.static_range(4):
            row = _neighbours(2 * i + query // 2, height, out_h, SAMPLE, ACC)
            column = _neighbours(2 * k + query % 2, width, out_w, SAMPLE, ACC)
            value = _query(x, source, row, column, width, channels, mask, CHANNELS_LAST, ON_PIXELS, ACC)
            if REDUCE == "mean":
                best += 0.25 * value
            elif query == 0:
                best = value
            else:  # the first of equal queries wins, and NaN wins over all
                better = (value > best) | (value != value)
                best = tl.where(better, value, best)
                winner = tl.where(better, query, winner)
        if KEEP:
            tl.store(winners + target, winner.to(tl.uint8), mask)
    tl.store(y + target, best.to(y.dtype.element_ty), mask)


# ---------------------------------------------------------------------------------------------------------- backward


@triton.jit
def _first_cell(pixel, size_in, size_out, SAMPLE: tl.constexpr):
    """First cell with a query at most one pixel away, or with a sampled point less than that."""
    query = tl.maximum((4 * pixel - 2) * size_out + size_in - 1, 0) // (2 * size_in)  # ceil of a quotient
    first = query // 2
    if SAMPLE:
        first = tl.minimum(first, tl.maximum((pixel - 1) * size_out + size_in, 0) // size_in)
    return first


@triton.jit
def _end_of_cells(pixel, size_in, size_out, SAMPLE: tl.constexpr):
    """One past the last such cell."""
    end = ((4 * pixel + 6) * size_out - size_in) // (2 * size_in) // 2 + 1
    if SAMPLE:
        end = tl.maximum(end, ((pixel + 1) * size_out + size_in - 1) // size_in)
    return tl.minimum(end, size_out)


@triton.jit
def _distance(index, pixel, size_in, size_out):
    """From the pixel to query ``index``, in units of 1 / (4 * size_out) pixels."""
    return (2 * index + 1) * size_in - 2 * size_out - 4 * size_out * pixel


@triton.jit
def _hat(distance, unit, pixel, size_in, ACC: tl.constexpr):
    """Weight of the pixel in a query so far away; queries outside the map belong to the border."""
    outside = ((pixel == 0) & (distance < 0)) | ((pixel == size_in - 1) & (distance > 0))
    near = tl.where(outside, unit, tl.maximum(unit - tl.abs(distance), 0))
    return _quotient(near, unit, ACC)


@triton.jit
def _slope(distance, unit, pixel, size_in, ACC: tl.constexpr):
    """Derivative of that weight to the position of the query: on a pixel the mean of both sides, outside zero."""
    at_first, at_last = pixel == 0, pixel == size_in - 1
    outside = (at_first & (distance < 0)) | (at_last & (distance > 0))
    size = tl.where(tl.abs(distance) < unit, 2, tl.where(tl.abs(distance) == unit, 1, 0))  # in halves
    halves = tl.where(distance < 0, size, -size)
    halves = tl.where(distance == 0, at_last.to(tl.int32) - at_first.to(tl.int32), halves)
    return 0.5 * tl.where(outside, 0, halves).to(ACC)


@triton.jit
def _weights(cell, pixel, size_in, size_out, REDUCE: tl.constexpr, ALPHA: tl.constexpr, ACC: tl.constexpr):
    """Weights of a pixel in a cell: for its gradient and for alpha's value and slope, each of query 0 and query 1."""
    unit = 4 * size_out
    near, far = _distance(2 * cell, pixel, size_in, size_out), _distance(2 * cell + 1, pixel, size_in, size_out)
    value_0, value_1 = _hat(near, unit, pixel, size_in, ACC), _hat(far, unit, pixel, size_in, ACC)
    slope_0, slope_1 = value_0, value_1
    if ALPHA:  # the queries move away from the cell's centre
        slope_0, slope_1 = -_slope(near, unit, pixel, size_in, ACC), _slope(far, unit, pixel, size_in, ACC)
    if REDUCE != "max":
        value_0, slope_0 = 0.5 * (value_0 + value_1), 0.5 * (slope_0 + slope_1)
        value_1, slope_1 = value_0, slope_0
    own_0, own_1 = value_0, value_1
    if REDUCE == "sample":
        own_0 = _hat(cell * size_in - size_out * pixel, size_out, pixel, size_in, ACC)
        own_1 = own_0
    return own_0, own_1, value_0, value_1, slope_0, slope_1


@triton.jit(do_not_specialize=["planes", "height", "width", "out_h", "out_w", "cells_in_a_row"])
def _backward_kernel(
    dy,
    x,
    winners,
    dx,
    partials,
    planes,
    channels,
    height,
    width,
    out_h,
    out_w,
    cells_in_a_row,
    REDUCE: tl.constexpr,
    PIXELS: tl.constexpr,
    ALPHA: tl.constexpr,
    CELLS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr,
    LANES: tl.constexpr,
    ALIGN: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
):
    """Of one row of pixels, some columns and planes: the gradient to x and two partial sums of the one to alpha."""
    SAMPLE: tl.constexpr = REDUCE == "sample"
    if WIDE:  # then all that is derived from these is
        height, width, out_h, out_w = height.to(tl.int64), width.to(tl.int64), out_h.to(tl.int64), out_w.to(tl.int64)
    width = width // ALIGN * ALIGN  # tells the compiler of a width that allows vectors
    h, w, outer, channel, mask = _tile(planes, channels, height, width, CHANNELS_LAST, ALONG, LANES)
    cells = _planes(outer, channel, channels, out_h * out_w, CHANNELS_LAST)
    pixels = _planes(outer, channel, channels, height * width, CHANNELS_LAST)
    pixels += _pixel(h, w, width, channels, CHANNELS_LAST)
    first_k = _first_cell(w, width, out_w, SAMPLE)
    grad = tl.zeros((ALONG, LANES), ACC)
    along_h = tl.zeros((ALONG, LANES), ACC)
    along_w = tl.zeros((ALONG, LANES), ACC)
    for i in range(_first_cell(h, height, out_h, SAMPLE), _end_of_cells(h, height, out_h, SAMPLE)):
        own_h0, own_h1, value_h0, value_h1, slope_h0, slope_h1 = _weights(i, h, height, out_h, REDUCE, ALPHA, ACC)
        for start in range(0, cells_in_a_row, CELLS):
            for turn in tl.static_range(CELLS):
                k = first_k + start + turn
                weights = _weights(k, w, width, out_w, REDUCE, ALPHA, ACC)
                own_w0, own_w1, value_w0, value_w1, slope_w0, slope_w1 = weights
                cell = cells + _pixel(i, k, out_w, channels, CHANNELS_LAST)
                there = mask & (k < out_w)
                part = tl.load(dy + cell, there, 0).to(ACC)
                lower, right = there, there
                if REDUCE == "max":
                    winner = tl.load(winners + cell, there, 0)
                    lower, right = winner >= 2, (winner & 1) != 0
                if PIXELS:
                    weight = tl.where(lower, own_h1, own_h0) * tl.where(right, own_w1, own_w0)
                    grad += tl.where(weight != 0, weight * part, 0)  # an infinite gradient stays in its footprint
                if ALPHA:
                    value_h, slope_h = tl.where(lower, value_h1, value_h0), tl.where(lower, slope_h1, slope_h0)
                    value_w, slope_w = tl.where(right, value_w1, value_w0), tl.where(right, slope_w1, slope_w0)
                    along_h += slope_h * value_w * part
                    along_w += value_h * slope_w * part
    if PIXELS:
        tl.store(dx + pixels, grad.to(dx.dtype.element_ty), mask)
    if ALPHA:
        value = tl.load(x + pixels, mask, 0).to(ACC)
        tl.store(partials + 2 * tl.program_id(0), tl.sum(value * along_h))
        tl.store(partials + 2 * tl.program_id(0) + 1, tl.sum(value * along_w))


@triton.jit(do_not_specialize=["count", "height", "width", "out_h", "out_w"])
def _alpha_kernel(partials, alpha, dalpha, count, alpha_stride, height, width, out_h, out_w, BLOCK: tl.constexpr):
    """The gradient to alpha along one axis from all partial sums: (size_in / size_out)^2 / (4 alpha^2) times them."""
    axis = tl.program_id(0)
    size_in = tl.where(axis == 0, height, width).to(tl.float64)
    size_out = tl.where(axis == 0, out_h, out_w).to(tl.float64)
    total = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, count, BLOCK):
        index = start + tl.arange(0, BLOCK)
        total += tl.load(partials + 2 * index + axis, index < count, 0).to(tl.float64)
    stride = size_in / (size_out * tl.load(alpha + axis * alpha_stride).to(tl.float64))
    tl.store(dalpha + axis, (tl.sum(total) * (0.25 * stride * stride)).to(dalpha.dtype.element_ty))


# --------------------------------------------------------------------------------------------------------- launchers


def forward(x: Tensor, size: tuple[int, int], reduce: str, keep_winner: bool) -> tuple[Tensor, Tensor]:
    """The pooled map and the winning queries (uint8; empty unless kept), laid out as x."""
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    n, c, height, width = x.shape
    y = torch.empty((n, c, *size), dtype=x.dtype, device=x.device, memory_format=layout)
    keep = keep_winner and reduce == "max"
    winner = torch.empty_like(y, dtype=torch.uint8) if keep else x.new_empty(0, dtype=torch.uint8)
    if y.numel() == 0:
        return y, winner
    sums, wide = accumulator(x.dtype), _is_wide(x.shape, y.shape)
    tile, programs, warps = _plan(y.shape, layout, y.dtype, wide)
    with _on(x):
        _forward_kernel[(programs,)](
            x,
            y,
            winner,
            n * c,
            c,
            height,
            width,
            *size,
            REDUCE=reduce,
            KEEP=keep,
            ON_PIXELS=queries_on_pixels(height, size[0], reduce) and queries_on_pixels(width, size[1], reduce),
            ACC=_ACCUMULATORS[sums],
            num_warps=warps,
            maxnreg=_REGISTERS[sums],
            **tile,
        )
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
    """The gradients to x, where wanted, and to alpha, where x and alpha are given."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    dy = dy.contiguous(memory_format=layout)
    n, c, *size = dy.shape
    shape = (n, c, *size_in)
    dx = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=layout) if need_x else None
    dalpha = None if x is None or alpha is None else torch.empty(2, dtype=alpha.dtype, device=alpha.device)
    if dy.numel() == 0:
        return dx, None if dalpha is None else dalpha.zero_()
    sums, wide = accumulator(dy.dtype), _is_wide(dy.shape, shape)
    tile, programs, warps = _plan(shape, layout, dy.dtype, wide)
    cells = cells_over_a_pixel(size_in[1], size[1], reduce)
    partials = torch.empty(0 if dalpha is None else 2 * programs, dtype=sums, device=dy.device)
    with _on(dy):
        _backward_kernel[(programs,)](
            dy,
            dy if x is None else x.contiguous(memory_format=layout),
            winner.contiguous(memory_format=layout) if reduce == "max" else winner,
            dy if dx is None else dx,
            partials,
            n * c,
            c,
            *size_in,
            *size,
            cells,
            REDUCE=reduce,
            PIXELS=need_x,
            ALPHA=dalpha is not None,
            CELLS=triton.cdiv(cells, triton.cdiv(cells, _CELLS)),
            ACC=_ACCUMULATORS[sums],
            num_warps=warps,
            maxnreg=_REGISTERS[sums],
            **tile,
        )
        if alpha is not None and dalpha is not None:
            sizes = (*size_in, *size)
            _alpha_kernel[(2,)](partials, alpha, dalpha, programs, alpha.stride(0), *sizes, BLOCK=_PARTIALS)
    return dx, dalpha


_ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}


def _plan(
    shape: Sequence[int], layout: torch.memory_format, dtype: torch.dtype, wide: bool
) -> tuple[dict[str, Any], int, int]:
    """The tile for a map of this shape, how many programs cover it, and their warps.

    It follows from the shape alone, so that sums have the same order in every run. Powers of two keep the number of
    compiled kernels small while learned sizes change.
    """
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    inner, outer = (c, width) if channels_last else (width, n * c)
    each = (_MANY if channels_last and dtype != torch.float64 else _FEW) // (2 if wide else 1)
    lanes = min(triton.next_power_of_2(inner), _LANES)
    along = min(triton.next_power_of_2(outer), _THREADS * each // lanes)
    programs = height * triton.cdiv(inner, lanes) * triton.cdiv(outer, along) * (n if channels_last else 1)
    align = _FEW if width % _FEW == 0 and not channels_last else 1
    tile = {"CHANNELS_LAST": channels_last, "ALONG": along, "LANES": lanes, "ALIGN": align, "WIDE": wide}
    return tile, programs, max(1, along * lanes // (32 * each))


def _is_wide(*shapes: Sequence[int]) -> bool:
    """Whether offsets, or the numerators of positions, of maps of these shapes need 64 bits."""
    longest = max(max(shape[2:]) for shape in shapes)
    return max(math.prod(shape) for shape in shapes) >= _INT32 or 8 * (longest + 1) ** 2 >= _INT32


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it that of x."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
