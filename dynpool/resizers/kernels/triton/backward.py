"""The backward kernels: one that walks over pixels and cells together, and the sum of its partial sums.

A program owns some lines of pixels, and walks over the lines of cells whose queries touch them. Of each line of cells
it first finds what falls to its pixels across (a gather, over the few cells that cover a pixel), for the queries on
either side of the line apart. A query then lies between two lines of pixels: there it leaves its gradient, weighted,
and meets the values of x, whose difference is its slope along the walk. A line that no further query touches is
written.

Every pixel of a contiguous map gathers from the same number of cells, the positions of a channels_last tile together
from one or more. Some of them may not reach a pixel: their weight is zero, so an infinite or NaN gradient may spread
that far.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lines import aligned, first_query, next_query, pace, quotient, strides, tile, turned

__all__ = ["alpha_kernel", "backward_kernel"]


@triton.jit
def _first_cell(pixel, size_in, size_out, SAMPLE: tl.constexpr):
    """First cell with a query at most one pixel away, or with a sampled point less than that."""
    pixel = pixel.to(tl.int64)
    if SAMPLE:
        return (tl.maximum((pixel - 1) * size_out + size_in, 0) // size_in).to(tl.int32)
    else:
        query = tl.maximum((4 * pixel - 2) * size_out + size_in - 1, 0) // (2 * size_in)  # ceil of a quotient
        return (query // 2).to(tl.int32)


@triton.jit
def _end_of_cells(pixel, size_in, size_out, SAMPLE: tl.constexpr):
    """One past the last such cell, or one more."""
    pixel = pixel.to(tl.int64)
    if SAMPLE:
        end = ((pixel + 1) * size_out + size_in - 1) // size_in
    else:
        end = ((4 * pixel + 6) * size_out - size_in) // (2 * size_in) // 2 + 1
    return tl.minimum(end, size_out).to(tl.int32)


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
def _weights(cell, pixel, size_in, size_out, REDUCE: tl.constexpr, ALPHA: tl.constexpr, ACC: tl.constexpr):
    """Weights of a pixel in a cell: of the value and of the slope, each of query 0 and query 1."""
    place = cell.to(tl.int64) * size_in
    if REDUCE == "sample":
        value_0 = _hat(place - pixel.to(tl.int64) * size_out, size_out, pixel, size_in, ACC)
        return value_0, value_0, value_0, value_0
    else:
        unit = 4 * size_out
        near = 4 * place + size_in - 2 * size_out - pixel.to(tl.int64) * unit
        far = near + 2 * size_in
        value_0, value_1 = _hat(near, unit, pixel, size_in, ACC), _hat(far, unit, pixel, size_in, ACC)
        slope_0, slope_1 = value_0, value_1
        if ALPHA:  # the queries move away from the cell's centre
            slope_0, slope_1 = -_slope(near, unit, pixel, size_in, ACC), _slope(far, unit, pixel, size_in, ACC)
        if REDUCE == "mean":  # a quarter of the gradient to each query
            value_0, slope_0 = 0.25 * (value_0 + value_1), 0.25 * (slope_0 + slope_1)
            value_1, slope_1 = value_0, slope_0
        return value_0, value_1, slope_0, slope_1


@triton.jit
def _add_cell(
    sums, dy, winners, mask, weights,
    REDUCE: tl.constexpr, ALPHA: tl.constexpr, CHANNELS_LAST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What falls to a pixel across from its queries before and behind, value and slope, with a cell's share added."""
    value_0, value_1, slope_0, slope_1 = sums
    weight, weight_1, slope, other_slope = weights
    part = tl.load(dy, mask, 0).to(ACC)
    if REDUCE == "max":
        winner = tl.load(winners, mask, 0)
        lower, right = (winner & 2) != 0, (winner & 1) != 0
        side, behind = (lower, right) if CHANNELS_LAST else (right, lower)
        share = tl.where(side, weight_1, weight) * part
        value_0, value_1 = tl.where(behind, value_0, value_0 + share), tl.where(behind, value_1 + share, value_1)
        if ALPHA:
            share = tl.where(side, other_slope, slope) * part
            slope_0, slope_1 = tl.where(behind, slope_0, slope_0 + share), tl.where(behind, slope_1 + share, slope_1)
    else:
        value_0 += weight * part
        value_1 = value_0
        if ALPHA:
            slope_0 += slope * part
            slope_1 = slope_0
    return value_0, value_1, slope_0, slope_1


@triton.jit
def _line(x, line, lines, stride, mask):
    """A line of x; in front of the first one that, behind the last one that."""
    return tl.load(x + tl.minimum(tl.maximum(line, 0), lines - 1) * stride, mask, 0)


@triton.jit
def _leave(
    line, walk, x, dx, start, end, lines, stride, mask,
    PIXELS: tl.constexpr, ALPHA: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Write a line that no further query touches, if it is the program's, and go on to the next."""
    gradient, next_gradient, here, behind, coming = walk
    if PIXELS:
        if WHOLE or ((line >= start) & (line < end)):
            tl.store(dx + line * stride, gradient.to(dx.dtype.element_ty), mask)
        gradient = next_gradient
        next_gradient = tl.zeros_like(gradient)
    if ALPHA:
        here, behind = behind, coming.to(behind.dtype)
        coming = _line(x, line + 3, lines, stride, mask)  # early, so that nothing waits for it
    return gradient, next_gradient, here, behind, coming


@triton.jit
def _leave_query(
    query, floor, rest, walk, totals, value, slope, cells, x, start, end, lines, stride, mask,
    PIXELS: tl.constexpr, ALPHA: tl.constexpr, WHOLE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Add what a query between the present line and the next one gives to them, and to alpha, if it is the program's.

    Args:
        query: 0 or 1, which moves to the lines before, or to those behind, as alpha grows.
        totals: of the gradient to alpha along the walk, and across it.
        value: the query's gradient where the weights across are those of the value.
        slope: the same, where they are the slope's.
    """
    gradient, next_gradient, here, behind, coming = walk
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
                move = behind - here
                across += slope * (here + weight * move)
                along = along + value * move if query == 1 else along - value * move
            else:
                across += slope * here
                if (rest == 0) & (floor >= 0):  # on a pixel: the mean of both sides
                    move = 0.5 * (behind - _line(x, floor - 1, lines, stride, mask).to(ACC))
                    along = along + value * move if query == 1 else along - value * move
    return (gradient, next_gradient, here, behind, coming), (along, across)


@triton.jit(do_not_specialize=["samples", "channels", "height", "width", "out_h", "out_w", "each"])
def backward_kernel(
    dy, x, winners, dx, partials, samples, channels, height, width, out_h, out_w, each,
    REDUCE: tl.constexpr, PIXELS: tl.constexpr, ALPHA: tl.constexpr, CELLS: tl.constexpr, POSITIONS: tl.constexpr,
    FAR: tl.constexpr, CHANNELS_LAST: tl.constexpr, PLANES: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr,
    ACC: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The gradient to ``each`` lines of pixels and their two partial sums of the one to alpha, rows before columns.

    From the first line of cells that touches the lines to the last. CELLS, at most 5 and no more than there are across,
    is how many cells in a row each pixel (the POSITIONS of a tile together) gathers from. Where WHOLE, a program has
    all lines; where FAR, more than one line may lie between two queries.
    """
    SAMPLE: tl.constexpr = REDUCE == "sample"
    QUERIES: tl.constexpr = 1 if SAMPLE else 2
    channels, width = aligned(channels, width, ALIGN, CHANNELS_LAST)
    lines, across = turned(height, width, CHANNELS_LAST)
    out_lines, out_across = turned(out_h, out_w, CHANNELS_LAST)
    start, end, plane, edge, position, lane, there, mask = tile(
        samples, channels, lines, across, each, CHANNELS_LAST, PLANES, LANES, POSITIONS
    )
    of_plane, of_position, of_line = strides(lines, across, channels, CHANNELS_LAST)
    pixels = plane * of_plane + position.to(tl.int64) * of_position + lane
    x, dx = x + pixels, dx + pixels
    first_k = _first_cell(edge if CHANNELS_LAST else position, across, out_across, SAMPLE)
    first_k = tl.minimum(first_k, out_across - (1 if CHANNELS_LAST else CELLS))
    end_k = _end_of_cells(edge + POSITIONS - 1, across, out_across, SAMPLE)
    sides = (
        _weights(first_k, position, across, out_across, REDUCE, ALPHA, ACC),
        _weights(first_k + 1, position, across, out_across, REDUCE, ALPHA, ACC),
        _weights(first_k + 2, position, across, out_across, REDUCE, ALPHA, ACC),
        _weights(first_k + 3, position, across, out_across, REDUCE, ALPHA, ACC),
        _weights(first_k + 4, position, across, out_across, REDUCE, ALPHA, ACC),
    )
    to_plane, to_position, to_line = strides(out_lines, out_across, channels, CHANNELS_LAST)
    cells = plane * to_plane + first_k.to(tl.int64) * to_position + lane
    dy, winners = dy + cells, winners + cells

    first = _first_cell(start, lines, out_lines, SAMPLE)
    floor, rest = first_query(QUERIES * first, lines, out_lines, SAMPLE)
    step = pace(lines, out_lines, SAMPLE)
    line = tl.minimum(tl.maximum(floor, 0), start)
    nothing = tl.zeros((PLANES, LANES), ACC)
    here, behind, coming = nothing, nothing, nothing
    if ALPHA:
        here = _line(x, line, lines, of_line, mask).to(ACC)
        behind = _line(x, line + 1, lines, of_line, mask).to(ACC)
        coming = _line(x, line + 2, lines, of_line, mask)
    walk = nothing, nothing, here, behind, coming
    totals = nothing, nothing
    for cell in range(first, _end_of_cells(end - 1, lines, out_lines, SAMPLE)):
        sums = nothing, nothing, nothing, nothing
        for k in tl.static_range(CELLS):
            part, winner = dy + cell * to_line + k * to_position, winners + cell * to_line + k * to_position
            if CHANNELS_LAST and k > 0:  # further cells that cover none of the positions are passed over
                if first_k + k < end_k:
                    sums = _add_cell(sums, part, winner, there, sides[k], REDUCE, ALPHA, True, ACC)
            else:
                sums = _add_cell(sums, part, winner, there, sides[k], REDUCE, ALPHA, CHANNELS_LAST, ACC)
        for query in tl.static_range(QUERIES):
            low = tl.minimum(tl.maximum(floor, 0), lines - 1)
            if FAR:
                while line < low:
                    walk = _leave(line, walk, x, dx, start, end, lines, of_line, mask, PIXELS, ALPHA, WHOLE)
                    line += 1
            elif line < low:  # a loop would be unrolled, and move all that it carries
                walk = _leave(line, walk, x, dx, start, end, lines, of_line, mask, PIXELS, ALPHA, WHOLE)
                line += 1
            walk, totals = _leave_query(
                query, floor, rest, walk, totals, sums[query], sums[2 + query], out_lines,
                x, start, end, lines, of_line, mask, PIXELS, ALPHA, WHOLE, ACC,
            )  # fmt: skip
            floor, rest = next_query(floor, rest, step, 4 * out_lines)
    if PIXELS:
        while line < end:
            walk = _leave(line, walk, x, dx, start, end, lines, of_line, mask, PIXELS, False, WHOLE)
            line += 1
    if ALPHA:  # what does not exist has gathered from cells that do
        rows, columns = turned(tl.where(mask, totals[0], 0), tl.where(mask, totals[1], 0), CHANNELS_LAST)
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
