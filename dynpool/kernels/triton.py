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

__all__ = ["backward", "forward"]

_THREADS = 128  # of a program, at most
# elements of a thread: enough loads in flight to hide the latency, few enough registers for many warps. Contiguous
# columns have weights of their own each, which take registers too; float64 and offsets of 64 bits take twice as many.
_MANY, _FEW = 8, 4
_LANES = 128  # at most so many of them in the direction of memory
_CELLS = 3  # in a row, whose weights a thread keeps: as many as lie over a pixel while the map does not grow
# of a thread, at most, by what it adds up in: room for three programs on a multiprocessor, or two. Said to the
# compiler, which would else keep below rounder numbers by moving values to local memory.
_REGISTERS = {torch.float32: 168, torch.float64: 240}
# weights of rows and columns are found once for several groups of planes: for as many as leave enough programs to fill
# every multiprocessor several times over
_PROGRAMS, _STEPS = 4096, 16
_PARTIALS = 1024  # partial sums that one step of the second backward launch takes
_INT32 = 2**31


# ------------------------------------------------------------------------------------------------------------- tiles


@triton.jit
def _place(rows, columns, groups, steps, WIDE: tl.constexpr, ACROSS: tl.constexpr):
    """This program's row, first column, and the first of its groups of planes and one past the last."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    blocks = tl.cdiv(columns, ACROSS)
    column = program % blocks * ACROSS
    program //= blocks
    start = program // rows * steps
    return program % rows, column, start, tl.minimum(start + steps, groups)


@triton.jit
def _columns(first, COUNT: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """So many columns along their direction of the tile."""
    return first + (tl.arange(0, COUNT)[:, None] if CHANNELS_LAST else tl.arange(0, COUNT)[None, :])


@triton.jit
def _group(group, planes, channels, CHANNELS_LAST: tl.constexpr, ALONG: tl.constexpr, LANES: tl.constexpr):
    """A group of planes: samples (or planes n * C + c if contiguous), channels, and the mask of existence."""
    if CHANNELS_LAST:
        blocks = tl.cdiv(channels, LANES)
        channel = group % blocks * LANES + tl.arange(0, LANES)[None, :]
        return group // blocks, channel, channel < channels
    else:
        outer = group * ALONG + tl.arange(0, ALONG)[:, None]
        return outer, 0, outer < planes


@triton.jit
def _planes(outer, channel, channels, pixels, CHANNELS_LAST: tl.constexpr):
    """Offset of the first pixel of each plane."""
    return outer * pixels * channels + channel if CHANNELS_LAST else outer * pixels


@triton.jit
def _pixel(row, column, columns, channels, CHANNELS_LAST: tl.constexpr):
    """Offset of a pixel in its plane."""
    return (row * columns + column) * channels if CHANNELS_LAST else row * columns + column


@triton.jit
def _load_pair(
    x, planes, row, first, mask, width, channels, there,
    CHANNELS_LAST: tl.constexpr, ALONG: tl.constexpr, LANES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Of each cell of 2 x 2 pixels from column ``first`` of cells on, the left and the right pixel of a row."""
    if CHANNELS_LAST:
        left = x + planes + _pixel(row, 2 * _columns(first, ALONG, True), width, channels, True)
        return tl.load(left, mask, 0).to(ACC), tl.load(left + channels, mask, 0).to(ACC)
    else:  # memory holds them in turns
        column = _columns(2 * first, 2 * LANES, False)
        both = tl.load(x + planes + _pixel(row, column, width, 1, False), there & (column < width), 0)
        left, right = tl.split(tl.reshape(both, (ALONG, LANES, 2)))
        return left.to(ACC), right.to(ACC)


@triton.jit
def _store_pair(
    x, planes, row, first, mask, width, channels, there, left, right,
    CHANNELS_LAST: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The inverse of :func:`_load_pair`."""
    dtype: tl.constexpr = x.dtype.element_ty
    if CHANNELS_LAST:
        target = x + planes + _pixel(row, 2 * _columns(first, left.shape[0], True), width, channels, True)
        tl.store(target, left.to(dtype), mask)
        tl.store(target + channels, right.to(dtype), mask)
    else:
        column = _columns(2 * first, 2 * LANES, False)
        target = x + planes + _pixel(row, column, width, 1, False)
        tl.store(target, tl.interleave(left.to(dtype), right.to(dtype)), there & (column < width))


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
def _rows(x, planes, row, width, channels, CHANNELS_LAST: tl.constexpr):
    """Where the two rows of pixels under a row position begin, and the weight of the second.

    Columns are added to these pointers, so that few offsets are kept in registers from one group to the next.
    """
    low, high, p = row
    low = x + (planes + _pixel(low, 0, width, channels, CHANNELS_LAST))
    return low, x + (planes + _pixel(high, 0, width, channels, CHANNELS_LAST)), p


@triton.jit
def _query(rows, column, channels, mask, CHANNELS_LAST: tl.constexpr, ACC: tl.constexpr):
    """The bilinear values between two rows, at column positions (low, high, weight)."""
    top, bottom, p = rows
    low, high, q = column
    if CHANNELS_LAST:
        low, high = low * channels, high * channels
    a, b = tl.load(top + low, mask, 0).to(ACC), tl.load(top + high, mask, 0).to(ACC)
    c, d = tl.load(bottom + low, mask, 0).to(ACC), tl.load(bottom + high, mask, 0).to(ACC)
    return ((1 - p) * a + p * c) * (1 - q) + ((1 - p) * b + p * d) * q


@triton.jit
def _larger(best, winner, value, query: tl.constexpr):
    """The first of equal queries wins, and NaN wins over all."""
    better = (value > best) | (value != value)
    return tl.where(better, value, best), tl.where(better, query, winner)


@triton.jit(do_not_specialize=["planes", "height", "width", "out_h", "out_w", "groups", "steps"])
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
    groups,
    steps,
    REDUCE: tl.constexpr,
    KEEP: tl.constexpr,
    HALVES: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr,
    LANES: tl.constexpr,
    ALIGN: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
):
    """y and, if kept, the winner 2 * a + b of each cell's queries (a, b): a row of cells, some columns, some planes."""
    SAMPLE: tl.constexpr = REDUCE == "sample"
    ACROSS: tl.constexpr = ALONG if CHANNELS_LAST else LANES
    if WIDE:  # then all that is derived from these is
        height, width, out_h, out_w = height.to(tl.int64), width.to(tl.int64), out_h.to(tl.int64), out_w.to(tl.int64)
    out_w = out_w // ALIGN * ALIGN  # tells the compiler of a width that allows vectors
    i, first, start, end = _place(out_h, out_w, groups, steps, WIDE, ACROSS)
    k = _columns(first, ACROSS, CHANNELS_LAST)
    if HALVES:
        height, width = 2 * out_h, 2 * out_w
    elif SAMPLE:
        row_0, column_0 = _neighbours(i, height, out_h, True, ACC), _neighbours(k, width, out_w, True, ACC)
    else:
        row_0, row_1 = _neighbours(2 * i, height, out_h, False, ACC), _neighbours(2 * i + 1, height, out_h, False, ACC)
        column_0 = _neighbours(2 * k, width, out_w, False, ACC)
        column_1 = _neighbours(2 * k + 1, width, out_w, False, ACC)
    for group in range(start, end):
        outer, channel, there = _group(group, planes, channels, CHANNELS_LAST, ALONG, LANES)
        mask = there & (k < out_w)
        source = _planes(outer, channel, channels, height * width, CHANNELS_LAST)
        target = _planes(outer, channel, channels, out_h * out_w, CHANNELS_LAST)
        target += _pixel(i, k, out_w, channels, CHANNELS_LAST)
        if SAMPLE:
            rows = _rows(x, source, row_0, width, channels, CHANNELS_LAST)
            best = _query(rows, column_0, channels, mask, CHANNELS_LAST, ACC)
        else:
            if HALVES:
                query_0, query_1 = _load_pair(
                    x, source, 2 * i, first, mask, width, channels, there, CHANNELS_LAST, ALONG, LANES, ACC
                )
                query_2, query_3 = _load_pair(
                    x, source, 2 * i + 1, first, mask, width, channels, there, CHANNELS_LAST, ALONG, LANES, ACC
                )
            else:
                rows = _rows(x, source, row_0, width, channels, CHANNELS_LAST)
                query_0 = _query(rows, column_0, channels, mask, CHANNELS_LAST, ACC)
                query_1 = _query(rows, column_1, channels, mask, CHANNELS_LAST, ACC)
                rows = _rows(x, source, row_1, width, channels, CHANNELS_LAST)
                query_2 = _query(rows, column_0, channels, mask, CHANNELS_LAST, ACC)
                query_3 = _query(rows, column_1, channels, mask, CHANNELS_LAST, ACC)
            if REDUCE == "mean":
                best = 0.25 * query_0 + 0.25 * query_1 + 0.25 * query_2 + 0.25 * query_3
            else:
                best, winner = query_0, tl.zeros((ALONG, LANES), tl.int32)
                best, winner = _larger(best, winner, query_1, 1)
                best, winner = _larger(best, winner, query_2, 2)
                best, winner = _larger(best, winner, query_3, 3)
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


@triton.jit
def _add_cell(
    sums, cell, exists, row, column, dy, winners,
    REDUCE: tl.constexpr, PIXELS: tl.constexpr, ALPHA: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient to a pixel and the two sums for alpha, with a cell's share added."""
    grad, along_h, along_w = sums
    own_h0, own_h1, value_h0, value_h1, slope_h0, slope_h1 = row
    own_w0, own_w1, value_w0, value_w1, slope_w0, slope_w1 = column
    part = tl.load(dy + cell, exists, 0).to(ACC)
    lower, right = exists, exists
    if REDUCE == "max":
        winner = tl.load(winners + cell, exists, 0)
        lower, right = winner >= 2, (winner & 1) != 0
    if PIXELS:
        weight = tl.where(lower, own_h1, own_h0) * tl.where(right, own_w1, own_w0)
        grad += tl.where(weight != 0, weight * part, 0)  # an infinite gradient stays in its footprint
    if ALPHA:
        along_h += tl.where(lower, slope_h1, slope_h0) * (tl.where(right, value_w1, value_w0) * part)
        along_w += tl.where(lower, value_h1, value_h0) * (tl.where(right, slope_w1, slope_w0) * part)
    return grad, along_h, along_w


@triton.jit(do_not_specialize=["planes", "height", "width", "out_h", "out_w", "cells_in_a_row", "groups", "steps"])
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
    groups,
    steps,
    REDUCE: tl.constexpr,
    PIXELS: tl.constexpr,
    ALPHA: tl.constexpr,
    CELLS: tl.constexpr,
    MORE: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr,
    LANES: tl.constexpr,
    ALIGN: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
):
    """Of a row of pixels, some columns, some planes: the gradient to x and two partial sums of the one to alpha.

    Weights of the first CELLS cells over each column are found once for all planes; those of MORE cells each time.
    """
    SAMPLE: tl.constexpr = REDUCE == "sample"
    ACROSS: tl.constexpr = ALONG if CHANNELS_LAST else LANES
    if WIDE:  # then all that is derived from these is
        height, width, out_h, out_w = height.to(tl.int64), width.to(tl.int64), out_h.to(tl.int64), out_w.to(tl.int64)
    width = width // ALIGN * ALIGN  # tells the compiler of a width that allows vectors
    h, first, start, end = _place(height, width, groups, steps, WIDE, ACROSS)
    w = _columns(first, ACROSS, CHANNELS_LAST)
    first_k = _first_cell(w, width, out_w, SAMPLE)
    first_i, end_i = _first_cell(h, height, out_h, SAMPLE), _end_of_cells(h, height, out_h, SAMPLE)
    column_0 = _weights(first_k, w, width, out_w, REDUCE, ALPHA, ACC)
    column_1 = _weights(first_k + 1, w, width, out_w, REDUCE, ALPHA, ACC)
    column_2 = _weights(first_k + 2, w, width, out_w, REDUCE, ALPHA, ACC)
    nothing = tl.zeros((ALONG, LANES), ACC)
    total_h, total_w = nothing, nothing
    for group in range(start, end):
        outer, channel, there = _group(group, planes, channels, CHANNELS_LAST, ALONG, LANES)
        mask = there & (w < width)
        cells = _planes(outer, channel, channels, out_h * out_w, CHANNELS_LAST)
        pixels = _planes(outer, channel, channels, height * width, CHANNELS_LAST)
        pixels += _pixel(h, w, width, channels, CHANNELS_LAST)
        sums = nothing, nothing, nothing
        for i in range(first_i, end_i):
            row = _weights(i, h, height, out_h, REDUCE, ALPHA, ACC)
            cell = cells + _pixel(i, first_k, out_w, channels, CHANNELS_LAST)
            next_cell = channels if CHANNELS_LAST else 1
            exists = mask & (first_k < out_w)
            sums = _add_cell(sums, cell, exists, row, column_0, dy, winners, REDUCE, PIXELS, ALPHA, ACC)
            if CELLS > 1:
                exists = mask & (first_k + 1 < out_w)
                cell += next_cell
                sums = _add_cell(sums, cell, exists, row, column_1, dy, winners, REDUCE, PIXELS, ALPHA, ACC)
            if CELLS > 2:
                exists = mask & (first_k + 2 < out_w)
                cell += next_cell
                sums = _add_cell(sums, cell, exists, row, column_2, dy, winners, REDUCE, PIXELS, ALPHA, ACC)
            if MORE:
                for k in range(CELLS, cells_in_a_row):
                    column = _weights(first_k + k, w, width, out_w, REDUCE, ALPHA, ACC)
                    exists = mask & (first_k + k < out_w)
                    cell += next_cell
                    sums = _add_cell(sums, cell, exists, row, column, dy, winners, REDUCE, PIXELS, ALPHA, ACC)
        grad, along_h, along_w = sums
        if PIXELS:
            tl.store(dx + pixels, grad.to(dx.dtype.element_ty), mask)
        if ALPHA:
            value = tl.load(x + pixels, mask, 0).to(ACC)
            total_h += value * along_h
            total_w += value * along_w
    if ALPHA:
        tl.store(partials + 2 * tl.program_id(0), tl.sum(total_h))
        tl.store(partials + 2 * tl.program_id(0) + 1, tl.sum(total_w))


@triton.jit(do_not_specialize=["planes", "out_h", "out_w", "groups", "steps"])
def _halves_kernel(
    dy,
    x,
    winners,
    dx,
    partials,
    planes,
    channels,
    out_h,
    out_w,
    groups,
    steps,
    PIXELS: tl.constexpr,
    ALPHA: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr,
    LANES: tl.constexpr,
    ALIGN: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
):
    """The same for "max" where both sizes are halved, by rows of cells: each owns 2 x 2 pixels, which are its queries.

    The gradient to x is dy at the winner. The slope of x there is the mean of both one-sided ones, outwards.
    """
    ACROSS: tl.constexpr = ALONG if CHANNELS_LAST else LANES
    if WIDE:
        out_h, out_w = out_h.to(tl.int64), out_w.to(tl.int64)
    out_w = out_w // ALIGN * ALIGN
    height, width = 2 * out_h, 2 * out_w
    i, first, start, end = _place(out_h, out_w, groups, steps, WIDE, ACROSS)
    k = _columns(first, ACROSS, CHANNELS_LAST)
    top, bottom = 2 * i, 2 * i + 1
    above, below = tl.maximum(top - 1, 0), tl.minimum(bottom + 1, height - 1)
    before, behind = tl.maximum(2 * k - 1, 0), tl.minimum(2 * k + 2, width - 1)
    nothing = tl.zeros((ALONG, LANES), ACC)
    total_h, total_w = nothing, nothing
    for group in range(start, end):
        outer, channel, there = _group(group, planes, channels, CHANNELS_LAST, ALONG, LANES)
        mask = there & (k < out_w)
        cells = _planes(outer, channel, channels, out_h * out_w, CHANNELS_LAST)
        cells += _pixel(i, k, out_w, channels, CHANNELS_LAST)
        pixels = _planes(outer, channel, channels, height * width, CHANNELS_LAST)
        part = tl.load(dy + cells, mask, 0)
        winner = tl.load(winners + cells, mask, 0)
        if PIXELS:
            zero = tl.zeros((ALONG, LANES), dx.dtype.element_ty)
            left, right = tl.where(winner == 0, part, zero), tl.where(winner == 1, part, zero)
            _store_pair(dx, pixels, top, first, mask, width, channels, there, left, right, CHANNELS_LAST, LANES)
            left, right = tl.where(winner == 2, part, zero), tl.where(winner == 3, part, zero)
            _store_pair(dx, pixels, bottom, first, mask, width, channels, there, left, right, CHANNELS_LAST, LANES)
        if ALPHA:
            part = part.to(ACC)
            lower, right = winner >= 2, (winner & 1) != 0
            top_l, top_r = _load_pair(
                x, pixels, top, first, mask, width, channels, there, CHANNELS_LAST, ALONG, LANES, ACC
            )
            bottom_l, bottom_r = _load_pair(
                x, pixels, bottom, first, mask, width, channels, there, CHANNELS_LAST, ALONG, LANES, ACC
            )
            above_l, above_r = _load_pair(
                x, pixels, above, first, mask, width, channels, there, CHANNELS_LAST, ALONG, LANES, ACC
            )
            below_l, below_r = _load_pair(
                x, pixels, below, first, mask, width, channels, there, CHANNELS_LAST, ALONG, LANES, ACC
            )
            outer_row = tl.where(lower, tl.where(right, below_r, below_l), tl.where(right, above_r, above_l))
            inner_row = tl.where(lower, tl.where(right, top_r, top_l), tl.where(right, bottom_r, bottom_l))
            total_h += part * (outer_row - inner_row)
            if CHANNELS_LAST:  # four loads of whole vectors
                top_l2 = tl.load(x + pixels + _pixel(top, before, width, channels, True), mask, 0).to(ACC)
                top_r2 = tl.load(x + pixels + _pixel(top, behind, width, channels, True), mask, 0).to(ACC)
                bottom_l2 = tl.load(x + pixels + _pixel(bottom, before, width, channels, True), mask, 0).to(ACC)
                bottom_r2 = tl.load(x + pixels + _pixel(bottom, behind, width, channels, True), mask, 0).to(ACC)
                outer_column = tl.where(lower, tl.where(right, bottom_r2, bottom_l2), tl.where(right, top_r2, top_l2))
            else:  # one of the neighbour in question
                neighbour = _pixel(tl.where(lower, bottom, top), tl.where(right, behind, before), width, 1, False)
                outer_column = tl.load(x + pixels + neighbour, mask, 0).to(ACC)
            inner_column = tl.where(right, tl.where(lower, bottom_l, top_l), tl.where(lower, bottom_r, top_r))
            total_w += part * (outer_column - inner_column)
    if ALPHA:
        tl.store(partials + 2 * tl.program_id(0), 0.5 * tl.sum(total_h))
        tl.store(partials + 2 * tl.program_id(0) + 1, 0.5 * tl.sum(total_w))


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
    plan = _plan(y.shape, layout, y.dtype, wide, _MANY)
    with _on(x):
        _forward_kernel[(plan.programs,)](
            x,
            y,
            winner,
            n * c,
            c,
            height,
            width,
            *size,
            plan.groups,
            plan.steps,
            REDUCE=reduce,
            KEEP=keep,
            HALVES=_halves((height, width), size, reduce),
            ACC=_ACCUMULATORS[sums],
            num_warps=plan.warps,
            maxnreg=_REGISTERS[sums],
            **plan.tile,
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
    halves = reduce == "max" and _halves(size_in, size, reduce)
    cells = cells_over_a_pixel(size_in[1], size[1], reduce)
    if halves:
        plan = _plan(dy.shape, layout, dy.dtype, wide, _MANY)
    else:
        plan = _plan(shape, layout, dy.dtype, wide, _FEW if channels_last or cells < _CELLS else _FEW // 2)
    partials = torch.empty(0 if dalpha is None else 2 * plan.programs, dtype=sums, device=dy.device)
    maps = (
        dy,
        dy if x is None else x.contiguous(memory_format=layout),
        winner.contiguous(memory_format=layout) if reduce == "max" else winner,
        dy if dx is None else dx,
    )
    wanted = {"PIXELS": need_x, "ALPHA": dalpha is not None, "ACC": _ACCUMULATORS[sums], **plan.tile}
    options = {"num_warps": plan.warps, "maxnreg": _REGISTERS[sums]}
    with _on(dy):
        if halves:
            _halves_kernel[(plan.programs,)](
                *maps, partials, n * c, c, *size, plan.groups, plan.steps, **wanted, **options
            )
        else:
            _backward_kernel[(plan.programs,)](
                *maps,
                partials,
                n * c,
                c,
                *size_in,
                *size,
                cells,
                plan.groups,
                plan.steps,
                REDUCE=reduce,
                CELLS=cells if cells <= _CELLS else _CELLS - 1,
                MORE=cells > _CELLS,
                **wanted,
                **options,
            )
        if alpha is not None and dalpha is not None:
            sizes = (*size_in, *size)
            _alpha_kernel[(2,)](partials, alpha, dalpha, plan.programs, alpha.stride(0), *sizes, BLOCK=_PARTIALS)
    return dx, dalpha


_ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}


@dataclass(frozen=True)
class _Plan:
    """How a map is cut: a program owns a tile of a row, and so many steps of it over groups of planes."""

    tile: dict[str, Any]
    groups: int
    steps: int
    programs: int
    warps: int


@lru_cache(maxsize=1024)
def _plan(shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype, wide: bool, each: int) -> _Plan:
    """The plan for a map of this shape, with so many elements a thread, or fewer where more would not fit.

    It follows from the shape alone, so that sums have the same order in every run. Powers of two keep the number of
    compiled kernels small while learned sizes change.
    """
    n, c, height, width = shape
    channels_last = layout == torch.channels_last
    inner, outer = (c, width) if channels_last else (width, n * c)
    each = each if channels_last and dtype != torch.float64 else min(each, _FEW)
    each = each // 2 if wide else each
    lanes = min(triton.next_power_of_2(inner), _LANES)
    along = min(triton.next_power_of_2(outer), _THREADS * each // lanes)
    align = _FEW if width % _FEW == 0 and not channels_last else 1
    groups = n * triton.cdiv(c, lanes) if channels_last else triton.cdiv(n * c, along)
    places = height * triton.cdiv(width, along if channels_last else lanes)
    steps = min(max(places * groups // _PROGRAMS, 1), _STEPS)
    tile = {"CHANNELS_LAST": channels_last, "ALONG": along, "LANES": lanes, "ALIGN": align, "WIDE": wide}
    return _Plan(tile, groups, steps, places * triton.cdiv(groups, steps), max(1, along * lanes // (32 * each)))


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
