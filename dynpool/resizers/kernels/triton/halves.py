"""The kernels where both sizes are halved, as at alpha = 2: the queries are the pixels themselves."""

from __future__ import annotations

import triton
import triton.language as tl

from .lines import aligned, larger
from .tiles import columns_from, load_pair, offset, place, planes_of, store_pair

__all__ = ["halves_backward_kernel", "halves_forward_kernel"]


@triton.jit(do_not_specialize=["samples", "channels", "out_h", "out_w", "groups", "steps"])
def halves_forward_kernel(
    x, y, winners, samples, channels, out_h, out_w, groups, steps,
    REDUCE: tl.constexpr, KEEP: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y ("max" or "mean") and, if kept, the winner 2 * a + b of each cell's pixels (row a, column b).

    A row of cells, some columns, some planes.
    """
    ACROSS: tl.constexpr = ALONG if CHANNELS_LAST else LANES
    PLANES: tl.constexpr = 1 if CHANNELS_LAST else ALONG
    channels, out_w = aligned(channels, out_w, ALIGN, CHANNELS_LAST)
    width = 2 * out_w
    i, first, start, end = place(out_h, out_w, groups, steps, ACROSS)
    k = columns_from(first, ACROSS, CHANNELS_LAST)
    for group in range(start, end):
        there, source, target = planes_of(group, samples, channels, out_h, out_w, CHANNELS_LAST, PLANES, LANES)
        mask = there & (k < out_w)
        target += offset(i, k, out_w, channels, CHANNELS_LAST)
        tile = first, mask, there, width, channels
        query_0, query_1 = load_pair(x + source, 2 * i, tile, CHANNELS_LAST, ALONG, LANES, ACC)
        query_2, query_3 = load_pair(x + source, 2 * i + 1, tile, CHANNELS_LAST, ALONG, LANES, ACC)
        if REDUCE == "mean":
            best = 0.25 * query_0 + 0.25 * query_1 + 0.25 * query_2 + 0.25 * query_3
        else:
            best, winner = query_0, tl.zeros((ALONG, LANES), tl.int32)
            best, winner = larger(best, winner, query_1, 1)
            best, winner = larger(best, winner, query_2, 2)
            best, winner = larger(best, winner, query_3, 3)
            if KEEP:
                tl.store(winners + target, winner.to(tl.uint8), mask)
        tl.store(y + target, best.to(y.dtype.element_ty), mask)


@triton.jit
def _chosen(lower, right, top_l, top_r, bottom_l, bottom_r):
    """One of four values, by the winner's row and column in its cell."""
    return tl.where(lower, tl.where(right, bottom_r, bottom_l), tl.where(right, top_r, top_l))


@triton.jit(do_not_specialize=["samples", "channels", "out_h", "out_w", "groups", "steps"])
def halves_backward_kernel(
    dy, x, winners, dx, partials, samples, channels, out_h, out_w, groups, steps,
    PIXELS: tl.constexpr, ALPHA: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    ALONG: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Of a row of cells, some columns, some planes: the gradient to their pixels and two partial sums of that to alpha.

    Each cell owns 2 x 2 pixels, which are its queries. The gradient to x is dy at the winner. The slope of x there is
    the mean of both one-sided ones, outwards.
    """
    ACROSS: tl.constexpr = ALONG if CHANNELS_LAST else LANES
    PLANES: tl.constexpr = 1 if CHANNELS_LAST else ALONG
    channels, out_w = aligned(channels, out_w, ALIGN, CHANNELS_LAST)
    height, width = 2 * out_h, 2 * out_w
    i, first, start, end = place(out_h, out_w, groups, steps, ACROSS)
    k = columns_from(first, ACROSS, CHANNELS_LAST)
    top, bottom = 2 * i, 2 * i + 1
    above, below = tl.maximum(top - 1, 0), tl.minimum(bottom + 1, height - 1)
    before, behind = tl.maximum(2 * k - 1, 0), tl.minimum(2 * k + 2, width - 1)
    nothing = tl.zeros((ALONG, LANES), ACC)
    total_h, total_w = nothing, nothing
    for group in range(start, end):
        there, pixels, cells = planes_of(group, samples, channels, out_h, out_w, CHANNELS_LAST, PLANES, LANES)
        mask = there & (k < out_w)
        tile = first, mask, there, width, channels
        cells += offset(i, k, out_w, channels, CHANNELS_LAST)
        part = tl.load(dy + cells, mask, 0)
        winner = tl.load(winners + cells, mask, 0)
        if PIXELS:
            zero = tl.zeros((ALONG, LANES), dx.dtype.element_ty)
            left, right = tl.where(winner == 0, part, zero), tl.where(winner == 1, part, zero)
            store_pair(dx + pixels, top, tile, left, right, CHANNELS_LAST, LANES)
            left, right = tl.where(winner == 2, part, zero), tl.where(winner == 3, part, zero)
            store_pair(dx + pixels, bottom, tile, left, right, CHANNELS_LAST, LANES)
        if ALPHA:
            source, part = x + pixels, part.to(ACC)
            lower, right = (winner & 2) != 0, (winner & 1) != 0
            top_l, top_r = load_pair(source, top, tile, CHANNELS_LAST, ALONG, LANES, ACC)
            bottom_l, bottom_r = load_pair(source, bottom, tile, CHANNELS_LAST, ALONG, LANES, ACC)
            above_l, above_r = load_pair(source, above, tile, CHANNELS_LAST, ALONG, LANES, ACC)
            below_l, below_r = load_pair(source, below, tile, CHANNELS_LAST, ALONG, LANES, ACC)
            outer_row = _chosen(lower, right, above_l, above_r, below_l, below_r)
            inner_row = _chosen(lower, right, bottom_l, bottom_r, top_l, top_r)
            total_h += part * (outer_row - inner_row)
            if CHANNELS_LAST:  # four loads of whole vectors
                top_l2 = tl.load(source + offset(top, before, width, channels, True), mask, 0).to(ACC)
                top_r2 = tl.load(source + offset(top, behind, width, channels, True), mask, 0).to(ACC)
                bottom_l2 = tl.load(source + offset(bottom, before, width, channels, True), mask, 0).to(ACC)
                bottom_r2 = tl.load(source + offset(bottom, behind, width, channels, True), mask, 0).to(ACC)
                outer_column = _chosen(lower, right, top_l2, top_r2, bottom_l2, bottom_r2)
            else:  # one of the neighbour in question
                neighbour = offset(tl.where(lower, bottom, top), tl.where(right, behind, before), width, 1, False)
                outer_column = tl.load(source + neighbour, mask, 0).to(ACC)
            inner_column = tl.where(right, tl.where(lower, bottom_l, top_l), tl.where(lower, bottom_r, top_r))
            total_w += part * (outer_column - inner_column)
    if ALPHA:
        tl.store(partials + 2 * tl.program_id(0), 0.5 * tl.sum(total_h))
        tl.store(partials + 2 * tl.program_id(0) + 1, 0.5 * tl.sum(total_w))
