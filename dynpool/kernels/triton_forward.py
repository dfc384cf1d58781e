"""The forward kernel: four bilinear queries of each cell and their maximum or mean, or one sampled point."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tiles import columns_from, load_pair, offset, place, planes_of, quotient

__all__ = ["forward_kernel"]


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
    weight = quotient(rest, denominator, ACC)
    return low, tl.where(between, low + 1, low), tl.where(between, weight, 0.5)


@triton.jit
def _rows(x, planes, row, width, channels, CHANNELS_LAST: tl.constexpr):
    """Where the two rows of pixels under a row position begin, and the weight of the second.

    Columns are added to these pointers, so that few offsets are kept in registers from one group to the next.
    """
    low, high, p = row
    low = x + (planes + offset(low, 0, width, channels, CHANNELS_LAST))
    return low, x + (planes + offset(high, 0, width, channels, CHANNELS_LAST)), p


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
def forward_kernel(
    x, y, winners, planes, channels, height, width, out_h, out_w, groups, steps,
    REDUCE: tl.constexpr, KEEP: tl.constexpr, HALVES: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y and, if kept, the winner 2 * a + b of each cell's queries (a, b): a row of cells, some columns, some planes."""
    SAMPLE: tl.constexpr = REDUCE == "sample"
    ACROSS: tl.constexpr = ALONG if CHANNELS_LAST else LANES
    if WIDE:  # then all that is derived from these is
        height, width, out_h, out_w = height.to(tl.int64), width.to(tl.int64), out_h.to(tl.int64), out_w.to(tl.int64)
    out_w = out_w // ALIGN * ALIGN  # tells the compiler of a width that allows vectors
    i, first, start, end = place(out_h, out_w, groups, steps, WIDE, ACROSS)
    k = columns_from(first, ACROSS, CHANNELS_LAST)
    if HALVES:
        height, width = 2 * out_h, 2 * out_w
    elif SAMPLE:
        row_0, column_0 = _neighbours(i, height, out_h, True, ACC), _neighbours(k, width, out_w, True, ACC)
    else:
        row_0, row_1 = _neighbours(2 * i, height, out_h, False, ACC), _neighbours(2 * i + 1, height, out_h, False, ACC)
        column_0 = _neighbours(2 * k, width, out_w, False, ACC)
        column_1 = _neighbours(2 * k + 1, width, out_w, False, ACC)
    for group in range(start, end):
        there, source, target = planes_of(
            group, planes, channels, height * width, out_h * out_w, CHANNELS_LAST, ALONG, LANES
        )
        mask = there & (k < out_w)
        target += offset(i, k, out_w, channels, CHANNELS_LAST)
        if SAMPLE:
            rows = _rows(x, source, row_0, width, channels, CHANNELS_LAST)
            best = _query(rows, column_0, channels, mask, CHANNELS_LAST, ACC)
        else:
            if HALVES:
                tile = first, mask, there, width, channels
                query_0, query_1 = load_pair(x + source, 2 * i, tile, CHANNELS_LAST, ALONG, LANES, ACC)
                query_2, query_3 = load_pair(x + source, 2 * i + 1, tile, CHANNELS_LAST, ALONG, LANES, ACC)
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
