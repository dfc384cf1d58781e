"""The kernels where both sizes are halved, as at alpha = 2: the queries are the pixels themselves.

They walk as the other kernels do, and take the same arguments. A cell owns two lines of two pixels each.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lines import aligned, reduced, strides, tile, turned

__all__ = ["halves_backward_kernel", "halves_forward_kernel"]


@triton.jit
def _pixels(plane, first, position, lane, there, mask, lines, across, channels,
            CHANNELS_LAST: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Offsets of the cells' pixels in the first line, and which exist: of all pixels if contiguous, else of the first
    one of each cell; and the strides from one position across to the next, and from one line.
    """
    of_plane, of_position, of_line = strides(2 * lines, 2 * across, channels, CHANNELS_LAST)
    if CHANNELS_LAST:
        return plane * of_plane + 2 * position.to(tl.int64) * of_position + lane, mask, of_position, of_line
    else:
        column = 2 * first + tl.arange(0, 2 * LANES)[None, :]
        return plane * of_plane + column, there & (column < 2 * across), of_position, of_line


@triton.jit
def _load(pixels, exist, of_position, CHANNELS_LAST: tl.constexpr, ACC: tl.constexpr):
    """The first and the second pixel of each cell in a line."""
    if CHANNELS_LAST:
        return tl.load(pixels, exist, 0).to(ACC), tl.load(pixels + of_position, exist, 0).to(ACC)
    else:
        found = tl.load(pixels, exist, 0)
        first, second = tl.split(tl.reshape(found, (found.shape[0], found.shape[1] // 2, 2)))
        return first.to(ACC), second.to(ACC)


@triton.jit
def _store(pixels, exist, of_position, first, second, CHANNELS_LAST: tl.constexpr):
    """The inverse of :func:`_load`."""
    if CHANNELS_LAST:
        tl.store(pixels, first, exist)
        tl.store(pixels + of_position, second, exist)
    else:
        tl.store(pixels, tl.interleave(first, second), exist)


@triton.jit(do_not_specialize=["samples", "channels", "height", "width", "out_h", "out_w", "each"])
def halves_forward_kernel(
    x, y, winners, samples, channels, height, width, out_h, out_w, each,
    REDUCE: tl.constexpr, KEEP: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    PLANES: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y ("max" or "mean") and, if kept, the winner 2 * a + b of each cell's pixels (row a, column b)."""
    channels, out_w = aligned(channels, out_w, ALIGN, CHANNELS_LAST)
    lines, across = turned(out_h, out_w, CHANNELS_LAST)
    start, end, plane, first, position, lane, there, mask = tile(
        samples, channels, lines, across, each, CHANNELS_LAST, PLANES, LANES
    )
    pixels, exist, of_position, of_line = _pixels(
        plane, first, position, lane, there, mask, lines, across, channels, CHANNELS_LAST, LANES
    )
    to_plane, to_position, to_line = strides(lines, across, channels, CHANNELS_LAST)
    target = plane * to_plane + position.to(tl.int64) * to_position + lane
    for cell in range(start, end):
        line = x + pixels + 2 * cell * of_line
        query_0, query_1 = _load(line, exist, of_position, CHANNELS_LAST, ACC)
        query_2, query_3 = _load(line + of_line, exist, of_position, CHANNELS_LAST, ACC)
        best, winner = reduced(query_0, query_1, query_2, query_3, REDUCE, CHANNELS_LAST)
        if KEEP:
            tl.store(winners + target + cell * to_line, winner.to(tl.uint8), mask)
        tl.store(y + target + cell * to_line, best.to(y.dtype.element_ty), mask)


@triton.jit
def _chosen(second, far, near_0, far_0, near_1, far_1):
    """One of four values: by the winner's line in its cell, and by its position in the line."""
    return tl.where(second, tl.where(far, far_1, near_1), tl.where(far, far_0, near_0))


@triton.jit(do_not_specialize=["samples", "channels", "height", "width", "out_h", "out_w", "each"])
def halves_backward_kernel(
    dy, x, winners, dx, partials, samples, channels, height, width, out_h, out_w, each,
    PIXELS: tl.constexpr, ALPHA: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    PLANES: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient to the pixels of ``each`` lines of cells, and two partial sums of that to alpha.

    The gradient to x is dy at the winner. The slope of x there is the mean of both one-sided ones, outwards.
    """
    FAR: tl.constexpr = 2 if CHANNELS_LAST else 1  # winners at the second position, and in the second line
    SECOND: tl.constexpr = 3 - FAR
    channels, out_w = aligned(channels, out_w, ALIGN, CHANNELS_LAST)
    lines, across = turned(out_h, out_w, CHANNELS_LAST)
    start, end, plane, first, position, lane, there, mask = tile(
        samples, channels, lines, across, each, CHANNELS_LAST, PLANES, LANES
    )
    pixels, exist, of_position, of_line = _pixels(
        plane, first, position, lane, there, mask, lines, across, channels, CHANNELS_LAST, LANES
    )
    to_plane, to_position, to_line = strides(lines, across, channels, CHANNELS_LAST)
    cells = plane * to_plane + position.to(tl.int64) * to_position + lane
    source = x + plane * (4 * to_plane) + lane
    before, behind = tl.maximum(2 * position - 1, 0), tl.minimum(2 * position + 2, 2 * across - 1)
    nothing = tl.zeros((PLANES, LANES), ACC)
    along, over = nothing, nothing
    for cell in range(start, end):
        part = tl.load(dy + cells + cell * to_line, mask, 0)
        winner = tl.load(winners + cells + cell * to_line, mask, 0)
        top, bottom = 2 * cell * of_line, (2 * cell + 1) * of_line
        if PIXELS:
            zero = tl.zeros((PLANES, LANES), dx.dtype.element_ty)
            near, far = tl.where(winner == 0, part, zero), tl.where(winner == FAR, part, zero)
            _store(dx + pixels + top, exist, of_position, near, far, CHANNELS_LAST)
            near, far = tl.where(winner == SECOND, part, zero), tl.where(winner == 3, part, zero)
            _store(dx + pixels + bottom, exist, of_position, near, far, CHANNELS_LAST)
        if ALPHA:
            part = part.to(ACC)
            second, far = (winner & SECOND) != 0, (winner & FAR) != 0
            above, below = tl.maximum(2 * cell - 1, 0) * of_line, tl.minimum(2 * cell + 2, 2 * lines - 1) * of_line
            near_0, far_0 = _load(x + pixels + top, exist, of_position, CHANNELS_LAST, ACC)
            near_1, far_1 = _load(x + pixels + bottom, exist, of_position, CHANNELS_LAST, ACC)
            near_above, far_above = _load(x + pixels + above, exist, of_position, CHANNELS_LAST, ACC)
            near_below, far_below = _load(x + pixels + below, exist, of_position, CHANNELS_LAST, ACC)
            outer = _chosen(second, far, near_above, far_above, near_below, far_below)
            along += part * (outer - _chosen(second, far, near_1, far_1, near_0, far_0))
            if CHANNELS_LAST:  # four loads of whole vectors
                left, right = source + before.to(tl.int64) * of_position, source + behind.to(tl.int64) * of_position
                left_0, right_0 = tl.load(left + top, mask, 0).to(ACC), tl.load(right + top, mask, 0).to(ACC)
                left_1, right_1 = tl.load(left + bottom, mask, 0).to(ACC), tl.load(right + bottom, mask, 0).to(ACC)
                outer = _chosen(second, far, left_0, right_0, left_1, right_1)
            else:  # one of the neighbour in question
                neighbour = tl.where(second, bottom, top) + tl.where(far, behind, before)
                outer = tl.load(source + neighbour, mask, 0).to(ACC)
            over += part * (outer - _chosen(second, far, far_0, near_0, far_1, near_1))
    if ALPHA:
        rows, columns = turned(along, over, CHANNELS_LAST)
        tl.store(partials + 2 * tl.program_id(0), 0.5 * tl.sum(rows))
        tl.store(partials + 2 * tl.program_id(0) + 1, 0.5 * tl.sum(columns))
