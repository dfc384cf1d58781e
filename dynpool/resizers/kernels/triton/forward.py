"""The forward kernel: four bilinear queries of each cell and their maximum or mean, or one sampled point.

A program walks over the lines of cells, and keeps the two lines of pixels around the present query, interpolated across
already: each pixel is read and interpolated once for all cells that lie behind each other, not once for each query.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lines import aligned, first_query, next_query, pace, quotient, reduced, strides, tile, turned

__all__ = ["forward_kernel"]


@triton.jit
def _neighbours(index, size_in, size_out, SAMPLE: tl.constexpr, ACC: tl.constexpr):
    """The two pixels that query (or sampled point) ``index`` lies between, and the weight of the second.

    A query on a pixel, or outside the map, has that pixel twice with half the weight each: a neighbour of weight zero
    would turn into NaN if it is infinite.
    """
    floor, rest = first_query(index, size_in, size_out, SAMPLE)
    between = (rest > 0) & (floor >= 0) & (floor < size_in - 1)
    low = tl.minimum(tl.maximum(floor, 0), size_in - 1)
    return low, tl.where(between, low + 1, low), tl.where(between, quotient(rest, 4 * size_out, ACC), 0.5)


@triton.jit
def _pair(left, right, ahead, mask, SAMPLE: tl.constexpr, ACC: tl.constexpr):
    """A line of pixels, interpolated at both positions of a cell, or twice at its one.

    Args:
        left: of the first position, pointers to its neighbours in the first line, and the weight of the second one.
        right: the same of the second position.
        ahead: offset of the line.
        mask: of what exists.
    """
    low, high, weight = left
    a, b = tl.load(low + ahead, mask).to(ACC), tl.load(high + ahead, mask).to(ACC)
    first = (1 - weight) * a + weight * b
    if SAMPLE:
        return first, first
    else:
        low, high, weight = right
        a, b = tl.load(low + ahead, mask).to(ACC), tl.load(high + ahead, mask).to(ACC)
        return first, (1 - weight) * a + weight * b


@triton.jit
def _query(floor, rest, walk, left, right, line_stride, lines, cells, mask, SAMPLE: tl.constexpr, ACC: tl.constexpr):
    """The two values of a query between lines, once the lines are those around it.

    Args:
        walk: the line of pixels at or before the query, and two values of it and of the one behind.
    """
    line, near_0, near_1, far_0, far_1 = walk
    low = tl.minimum(tl.maximum(floor, 0), lines - 1)
    if low > line:
        near_0, near_1 = far_0, far_1
        if low > line + 1:
            near_0, near_1 = _pair(left, right, low * line_stride, mask, SAMPLE, ACC)
        far_0, far_1 = _pair(left, right, tl.minimum(low + 1, lines - 1) * line_stride, mask, SAMPLE, ACC)
    weight = quotient(rest, 4 * cells, ACC)
    value_0 = (1 - weight) * near_0 + weight * far_0
    value_1 = (1 - weight) * near_1 + weight * far_1
    if (rest == 0) | (floor < 0) | (floor >= lines - 1):  # what lies behind has no part, infinite or not
        value_0, value_1 = near_0, near_1
    return value_0, value_1, (low, near_0, near_1, far_0, far_1)


@triton.jit(do_not_specialize=["samples", "channels", "height", "width", "out_h", "out_w", "each"])
def forward_kernel(
    x, y, winners, samples, channels, height, width, out_h, out_w, each,
    REDUCE: tl.constexpr, KEEP: tl.constexpr, POSITIONS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    PLANES: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y and, if kept, the winner 2 * a + b of each cell's queries (row a, column b): ``each`` lines a program."""
    SAMPLE: tl.constexpr = REDUCE == "sample"
    QUERIES: tl.constexpr = 1 if SAMPLE else 2
    channels, out_w = aligned(channels, out_w, ALIGN, CHANNELS_LAST)
    lines, across = turned(height, width, CHANNELS_LAST)
    out_lines, out_across = turned(out_h, out_w, CHANNELS_LAST)
    start, end, plane, _, k, lane, there, mask = tile(
        samples, channels, out_lines, out_across, each, CHANNELS_LAST, PLANES, LANES, POSITIONS
    )
    of_plane, of_position, of_line = strides(lines, across, channels, CHANNELS_LAST)
    low, high, weight = _neighbours(QUERIES * k, across, out_across, SAMPLE, ACC)
    source = x + plane * of_plane + lane
    left = source + low.to(tl.int64) * of_position, source + high.to(tl.int64) * of_position, weight
    low, high, weight = _neighbours(QUERIES * k + QUERIES - 1, across, out_across, SAMPLE, ACC)
    right = source + low.to(tl.int64) * of_position, source + high.to(tl.int64) * of_position, weight
    to_plane, to_position, to_line = strides(out_lines, out_across, channels, CHANNELS_LAST)
    target = plane * to_plane + k.to(tl.int64) * to_position + lane
    y, winners = y + target, winners + target

    floor, rest = first_query(QUERIES * start, lines, out_lines, SAMPLE)
    step = pace(lines, out_lines, SAMPLE)
    line = tl.minimum(tl.maximum(floor, 0), lines - 1)
    here = _pair(left, right, line * of_line, there, SAMPLE, ACC)
    behind = _pair(left, right, tl.minimum(line + 1, lines - 1) * of_line, there, SAMPLE, ACC)
    walk = line, here[0], here[1], behind[0], behind[1]
    for cell in range(start, end):
        near_0, far_0, walk = _query(floor, rest, walk, left, right, of_line, lines, out_lines, there, SAMPLE, ACC)
        floor, rest = next_query(floor, rest, step, 4 * out_lines)
        best = near_0
        if not SAMPLE:
            near_1, far_1, walk = _query(floor, rest, walk, left, right, of_line, lines, out_lines, there, SAMPLE, ACC)
            floor, rest = next_query(floor, rest, step, 4 * out_lines)
            best, winner = reduced(near_0, far_0, near_1, far_1, REDUCE, CHANNELS_LAST)
            if KEEP:
                tl.store(winners + cell * to_line, winner.to(tl.uint8), mask)
        tl.store(y + cell * to_line, best.to(y.dtype.element_ty), mask)
