"""The backward kernels: one that walks over pixels and cells together, and the sum of its partial sums.

A program owns some lines of pixels, and walks over the lines of cells whose queries touch them. Of each line of cells
it first finds what falls to its pixels across (a gather, over the few cells that cover a pixel), for the queries on
either side of the line apart. A query then lies between two lines of pixels: there it leaves its gradient, weighed, and
meets the values of x, whose difference is its slope along the walk. A line that no further query touches is written.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lines import first_query, next_query, offset, pace, place, quotient, turned
from .tiles import aligned, planes_of

__all__ = ["alpha_kernel", "backward_kernel"]


@triton.jit
def _first_cell(pixel, size_in, size_out, SAMPLE: tl.constexpr):
    """First cell with a query at most one pixel away, or with a sampled point less than that."""
    if SAMPLE:
        return tl.maximum((pixel - 1) * size_out + size_in, 0) // size_in
    else:
        query = tl.maximum((4 * pixel - 2) * size_out + size_in - 1, 0) // (2 * size_in)  # ceil of a quotient
        return query // 2


@triton.jit
def _end_of_cells(pixel, size_in, size_out, SAMPLE: tl.constexpr):
    """One past the last such cell, or one more."""
    if SAMPLE:
        end = ((pixel + 1) * size_out + size_in - 1) // size_in
    else:
        end = ((4 * pixel + 6) * size_out - size_in) // (2 * size_in) // 2 + 1
    return tl.minimum(end, size_out)


@triton.jit
def _hat(distance, unit, pixel, size_in, ACC: tl.constexpr):
    """Weight of the pixel in a query so far away; queries outside the map belong to the border."""
    outside = ((pixel == 0) & (distance < 0)) | ((pixel == size_in - 1) & (distance > 0))
    near = tl.where(outside, unit, tl.maximum(unit - tl.abs(distance), 0))
    return quotient(near, unit, ACC)


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
def _weights(cell, pixel, size_in, size_out, POINTS: tl.constexpr, ALPHA: tl.constexpr, ACC: tl.constexpr):
    """Weights of a pixel in a cell: of the value and of the slope, each of query 0 and query 1."""
    if POINTS == "sample":
        value_0 = _hat(cell * size_in - size_out * pixel, size_out, pixel, size_in, ACC)
        return value_0, value_0, value_0, value_0
    else:
        unit = 4 * size_out
        near = (4 * cell + 1) * size_in - 2 * size_out - 4 * size_out * pixel
        far = near + 2 * size_in
        value_0, value_1 = _hat(near, unit, pixel, size_in, ACC), _hat(far, unit, pixel, size_in, ACC)
        slope_0, slope_1 = value_0, value_1
        if ALPHA:  # the queries move away from the cell's centre
            slope_0, slope_1 = -_slope(near, unit, pixel, size_in, ACC), _slope(far, unit, pixel, size_in, ACC)
        if POINTS == "mean":  # a quarter of the gradient to each query
            value_0, slope_0 = 0.25 * (value_0 + value_1), 0.25 * (slope_0 + slope_1)
            value_1, slope_1 = value_0, slope_0
        return value_0, value_1, slope_0, slope_1


@triton.jit
def _add_if(
    covers, sums, at, mask, weights,
    POINTS: tl.constexpr, ALPHA: tl.constexpr, CHANNELS_LAST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """:func:`_add_cell` where the cell covers the pixel: the whole tile in channels_last, some lanes if contiguous."""
    if CHANNELS_LAST:
        if covers:
            sums = _add_cell(sums, at, mask, weights, POINTS, ALPHA, CHANNELS_LAST, ACC)
    else:
        sums = _add_cell(sums, at, mask & covers, weights, POINTS, ALPHA, CHANNELS_LAST, ACC)
    return sums


@triton.jit
def _add_cell(
    sums, at, mask, weights,
    POINTS: tl.constexpr, ALPHA: tl.constexpr, CHANNELS_LAST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What falls to a pixel across from its queries before and behind, value and slope, with a cell's share added."""
    value_0, value_1, slope_0, slope_1 = sums
    weight, weight_1, slope, other_slope = weights
    part = tl.load(at[0], mask, 0).to(ACC)
    if POINTS == "max":
        winner = tl.load(at[1], mask, 0)
        lower, right = winner >= 2, (winner & 1) != 0
        side, behind = (lower, right) if CHANNELS_LAST else (right, lower)
        weight = tl.where(side, weight_1, weight)
        reaches = weight != 0  # an infinite gradient stays in its footprint
        value_0 = tl.where(reaches & ~behind, value_0 + weight * part, value_0)
        value_1 = tl.where(reaches & behind, value_1 + weight * part, value_1)
        if ALPHA:
            slope = tl.where(side, other_slope, slope)
            slope_0 = tl.where(behind, slope_0, slope_0 + slope * part)
            slope_1 = tl.where(behind, slope_1 + slope * part, slope_1)
    else:
        value_0 += weight * tl.where(weight != 0, part, 0)
        value_1 = value_0
        if ALPHA:
            slope_0 += slope * part
            slope_1 = slope_0
    return value_0, value_1, slope_0, slope_1


@triton.jit
def _line(line, pixels, x, tile, CHANNELS_LAST: tl.constexpr):
    """A line of x; in front of the first one that, behind the last one that."""
    _, _, lines, position, width, channels, mask = tile
    line = tl.minimum(tl.maximum(line, 0), lines - 1)
    return tl.load(x + (pixels + offset(line, position, width, channels, CHANNELS_LAST)), mask, 0)


@triton.jit
def _leave(
    line, walk, pixels, x, dx, tile,
    PIXELS: tl.constexpr, ALPHA: tl.constexpr, CHANNELS_LAST: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Write a line that no further query touches, if it is the program's, and go on to the next."""
    gradient, next_gradient, here, behind, coming = walk
    start, end, _, position, width, channels, mask = tile
    if PIXELS:
        if WHOLE or ((line >= start) & (line < end)):
            at = pixels + offset(line, position, width, channels, CHANNELS_LAST)
            tl.store(dx + at, gradient.to(dx.dtype.element_ty), mask)
        gradient = next_gradient
        next_gradient = tl.zeros_like(gradient)
    if ALPHA:
        here, behind = behind, coming.to(behind.dtype)
        coming = _line(line + 3, pixels, x, tile, CHANNELS_LAST)  # early, so that nothing waits for it
    return gradient, next_gradient, here, behind, coming


@triton.jit
def _leave_query(
    query, floor, rest, walk, totals, value, slope, cells, pixels, x, tile,
    PIXELS: tl.constexpr, ALPHA: tl.constexpr, CHANNELS_LAST: tl.constexpr, WHOLE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Add what a query between the present line and the next one gives to them, and to alpha, if it is the program's.

    Args:
        query: 0 or 1, which moves to the lines before, or to those behind, as alpha grows.
        totals: of the gradient to alpha along the walk, and across it.
        value: the query's gradient where the weights across are those of the value.
        slope: the same, where they are the slope's.
    """
    gradient, next_gradient, here, behind, coming = walk
    start, end, lines, _, _, _, _ = tile
    along, across = totals
    between = (rest > 0) & (floor >= 0) & (floor < lines - 1)
    weight = quotient(rest, 4 * cells, ACC)
    if PIXELS:
        if between:
            gradient += (1 - weight) * value
            next_gradient += weight * value
        else:
            gradient += value
    if ALPHA:
        if WHOLE or (((floor >= start) & (floor < end)) | ((floor < 0) & (start == 0))):
            if between:
                across += slope * ((1 - weight) * here + weight * behind)
                move = behind - here
                along = along + value * move if query == 1 else along - value * move
            else:
                across += slope * here
                if (rest == 0) & (floor >= 0):  # on a pixel: the mean of both sides
                    move = 0.5 * (behind - _line(floor - 1, pixels, x, tile, CHANNELS_LAST).to(ACC))
                    along = along + value * move if query == 1 else along - value * move
    return (gradient, next_gradient, here, behind, coming), (along, across)


@triton.jit
def _walk(
    dy, x, winners, dx, totals, pixels, cells, cells_in_a_row, tile, out_lines, across, out_across, out_w,
    POINTS: tl.constexpr, PIXELS: tl.constexpr, ALPHA: tl.constexpr, CELLS: tl.constexpr, MORE: tl.constexpr,
    CHANNELS_LAST: tl.constexpr, PLANES: tl.constexpr, LANES: tl.constexpr, WHOLE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """From the first line of cells that touches the program's pixels to the last; the totals for alpha, added to."""
    SAMPLE: tl.constexpr = POINTS == "sample"
    QUERIES: tl.constexpr = 1 if SAMPLE else 2
    start, end, lines, position, _, channels, mask = tile
    first_k = _first_cell(position, across, out_across, SAMPLE)
    end_k = _end_of_cells(position, across, out_across, SAMPLE)
    sides = (
        _weights(first_k, position, across, out_across, POINTS, ALPHA, ACC),
        _weights(first_k + 1, position, across, out_across, POINTS, ALPHA, ACC),
        _weights(first_k + 2, position, across, out_across, POINTS, ALPHA, ACC),
        _weights(first_k + 3, position, across, out_across, POINTS, ALPHA, ACC),
    )
    cells += offset(0, first_k, out_w, channels, CHANNELS_LAST)
    dy_0, winner_0 = dy + cells, winners + cells  # pointers, so that the next cells take no arithmetic
    next_k = out_w * channels if CHANNELS_LAST else 1
    first = _first_cell(start, lines, out_lines, SAMPLE)
    floor, rest = first_query(QUERIES * first, lines, out_lines, SAMPLE)
    step = pace(lines, out_lines, SAMPLE)
    line = tl.minimum(tl.maximum(floor, 0), start)
    nothing = tl.zeros((PLANES, LANES), ACC)
    here, behind, coming = nothing, nothing, nothing
    if ALPHA:
        here = _line(line, pixels, x, tile, CHANNELS_LAST).to(ACC)
        behind = _line(line + 1, pixels, x, tile, CHANNELS_LAST).to(ACC)
        coming = _line(line + 2, pixels, x, tile, CHANNELS_LAST)
    walk = nothing, nothing, here, behind, coming
    for cell in range(first, _end_of_cells(end - 1, lines, out_lines, SAMPLE)):
        sums = nothing, nothing, nothing, nothing
        ahead = cell * (channels if CHANNELS_LAST else out_w)
        for k in tl.static_range(CELLS):
            covers = first_k + k < end_k
            pair = dy_0 + ahead + k * next_k, winner_0 + ahead + k * next_k
            sums = _add_if(covers, sums, pair, mask, sides[k], POINTS, ALPHA, CHANNELS_LAST, ACC)
        if MORE:
            for k in range(CELLS, cells_in_a_row):
                covers = first_k + k < end_k
                side = _weights(first_k + k, position, across, out_across, POINTS, ALPHA, ACC)
                pair = dy_0 + ahead + k * next_k, winner_0 + ahead + k * next_k
                sums = _add_if(covers, sums, pair, mask, side, POINTS, ALPHA, CHANNELS_LAST, ACC)
        value_0, value_1, slope_0, slope_1 = sums
        for query in tl.static_range(QUERIES):
            low = tl.minimum(tl.maximum(floor, 0), lines - 1)
            while line < low:
                walk = _leave(line, walk, pixels, x, dx, tile, PIXELS, ALPHA, CHANNELS_LAST, WHOLE)
                line += 1
            walk, totals = _leave_query(
                query, floor, rest, walk, totals,
                value_0 if query == 0 else value_1, slope_0 if query == 0 else slope_1,
                out_lines, pixels, x, tile, PIXELS, ALPHA, CHANNELS_LAST, WHOLE, ACC,
            )  # fmt: skip
            floor, rest = next_query(floor, rest, step, 4 * out_lines)
    if PIXELS:
        while line < end:
            walk = _leave(line, walk, pixels, x, dx, tile, PIXELS, False, CHANNELS_LAST, WHOLE)
            line += 1
    return totals


@triton.jit(do_not_specialize=["samples", "height", "width", "out_h", "out_w", "cells_in_a_row", "each"])
def backward_kernel(
    dy, x, winners, dx, partials, samples, channels, height, width, out_h, out_w, cells_in_a_row, each,
    REDUCE: tl.constexpr, PIXELS: tl.constexpr, ALPHA: tl.constexpr, CELLS: tl.constexpr, MORE: tl.constexpr,
    CHANNELS_LAST: tl.constexpr, PLANES: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr,
    WHOLE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient to ``each`` lines of pixels and their two partial sums of the one to alpha, rows before columns.

    Where WHOLE, a program has all lines. Weights of the first CELLS (at most 4) cells across a pixel are found once;
    those of MORE cells each time.
    """
    if WIDE:  # then all that is derived from these is
        height, width, out_h, out_w = height.to(tl.int64), width.to(tl.int64), out_h.to(tl.int64), out_w.to(tl.int64)
        samples = samples.to(tl.int64)
    channels, width = aligned(channels, width, ALIGN, CHANNELS_LAST)
    lines, across = turned(height, width, CHANNELS_LAST)
    out_lines, out_across = turned(out_h, out_w, CHANNELS_LAST)
    start, end, position, group = place(lines, across, each, WIDE, LANES, CHANNELS_LAST)
    mask, pixels, cells = planes_of(
        group, samples, channels, height * width, out_h * out_w, CHANNELS_LAST, PLANES, LANES
    )
    mask = mask if CHANNELS_LAST else mask & (position < across)
    tile = start, end, lines, position, width, channels, mask
    totals = tl.zeros((PLANES, LANES), ACC), tl.zeros((PLANES, LANES), ACC)
    if REDUCE == "sample":  # its gradient to alpha is that of "mean"
        if PIXELS:
            totals = _walk(
                dy, x, winners, dx, totals, pixels, cells, cells_in_a_row, tile, out_lines, across, out_across, out_w,
                "sample", True, False, CELLS, MORE, CHANNELS_LAST, PLANES, LANES, WHOLE, ACC,
            )  # fmt: skip
        if ALPHA:
            totals = _walk(
                dy, x, winners, dx, totals, pixels, cells, cells_in_a_row, tile, out_lines, across, out_across, out_w,
                "mean", False, True, CELLS, MORE, CHANNELS_LAST, PLANES, LANES, WHOLE, ACC,
            )  # fmt: skip
    else:
        totals = _walk(
            dy, x, winners, dx, totals, pixels, cells, cells_in_a_row, tile, out_lines, across, out_across, out_w,
            REDUCE, PIXELS, ALPHA, CELLS, MORE, CHANNELS_LAST, PLANES, LANES, WHOLE, ACC,
        )  # fmt: skip
    if ALPHA:
        rows, columns = turned(totals[0], totals[1], CHANNELS_LAST)
        tl.store(partials + 2 * tl.program_id(0), tl.sum(rows))
        tl.store(partials + 2 * tl.program_id(0) + 1, tl.sum(columns))


@triton.jit(do_not_specialize=["count", "height", "width", "out_h", "out_w"])
def alpha_kernel(partials, alpha, dalpha, count, alpha_stride, height, width, out_h, out_w, BLOCK: tl.constexpr):
    """The gradient to alpha along one axis from all partial sums: (size_in / size_out)^2 / (4 alpha^2) times them."""
    axis = tl.program_id(0)
    size_in = tl.where(axis == 0, height, width).to(tl.float64)
    size_out = tl.where(axis == 0, out_h, out_w).to(tl.float64)
    total = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, count, BLOCK):
        index = start + tl.arange(0, BLOCK)
        total += tl.load(partials + 2 * index + axis, index < count, 0).to(tl.float64)
    stride = size_in / (size_out * _through_float32(tl.load(alpha + axis * alpha_stride), tl.float64))
    found = tl.sum(total) * (0.25 * stride * stride)
    tl.store(dalpha + axis, _through_float32(found, dalpha.dtype.element_ty))


@triton.jit
def _through_float32(value, dtype: tl.constexpr):
    """Cast by way of float32 unless float64 is kept: not every compiler goes from bfloat16 to it, or back, at once."""
    if value.dtype == tl.float64 and dtype == tl.float64:
        return value
    else:
        return value.to(tl.float32).to(dtype)
