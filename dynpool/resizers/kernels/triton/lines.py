"""Walking over a map line by line, in either layout: what the forward and the backward kernel share.

Contiguous maps are walked row by row, channels_last maps column by column, so that what memory runs along (columns, or
channels) lies along a tile's lanes. A line has positions across it: the columns of a row, one for each lane, or the
rows of a column, one for the whole tile or POSITIONS of them, which share what they read in the L1 cache. A tile is
(PLANES, LANES): contiguous planes are n * C + c; channels_last ones are samples, as channels are lanes already, each of
them as many times as there are POSITIONS.

Offsets of planes have 64 bits, those within a plane (of a row, in channels_last) 32.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["aligned", "first_query", "next_query", "pace", "quotient", "reduced", "strides", "tile", "turned"]


@triton.jit
def aligned(channels, width, ALIGN: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """The same two numbers; the compiler is told by which vectors what memory runs along can be divided."""
    if CHANNELS_LAST:
        return channels // ALIGN * ALIGN, width
    else:
        return channels, width // ALIGN * ALIGN


@triton.jit
def turned(rows, columns, CHANNELS_LAST: tl.constexpr):
    """Rows and columns as lines and positions across them, and the other way round."""
    return (columns, rows) if CHANNELS_LAST else (rows, columns)


@triton.jit
def tile(
    samples, channels, lines, across, each,
    CHANNELS_LAST: tl.constexpr, PLANES: tl.constexpr, LANES: tl.constexpr, POSITIONS: tl.constexpr = 1,
):  # fmt: skip
    """This program's first line and one past its last; and of its tile the planes (of 64 bits), the first position
    across and all of them, the channels (0 if contiguous), which planes exist, and which elements do.

    What lies beside each other comes first, then the walks over the same planes: what they read is in the L2 cache.
    """
    program = tl.program_id(0)
    walks = tl.cdiv(lines, each)
    row = tl.arange(0, PLANES)[:, None]
    column = tl.arange(0, LANES)[None, :]
    if CHANNELS_LAST:
        blocks = tl.cdiv(channels, LANES)
        lane = program % blocks * LANES + column
        program //= blocks
        neighbours = tl.cdiv(across, POSITIONS)
        first = program % neighbours * POSITIONS
        position = first
        program //= neighbours
        plane = program // walks * (PLANES // POSITIONS) + row // POSITIONS
        there = (plane < samples) & (lane < channels)
        if POSITIONS > 1:
            position += row % POSITIONS
            there &= position < across
        mask = there
    else:
        blocks = tl.cdiv(across, LANES)
        lane = 0
        first = program % blocks * LANES
        position = first + column
        program //= blocks
        plane = program // walks * PLANES + row
        there = plane < samples * channels
        mask = there & (position < across)
    start = program % walks * each
    return start, tl.minimum(start + each, lines), plane.to(tl.int64), first, position, lane, there, mask


@triton.jit
def strides(lines, across, channels, CHANNELS_LAST: tl.constexpr):
    """From one plane (sample in channels_last) of a map to the next, from one position across, and from one line."""
    if CHANNELS_LAST:
        return across.to(tl.int64) * (lines * channels), lines * channels, channels
    else:
        return lines.to(tl.int64) * across, 1, across


@triton.jit
def first_query(index, size_in, size_out, SAMPLE: tl.constexpr):
    """Where query (or sampled point) ``index`` is: the pixel before, and how far behind, in 1 / (4 * size_out)."""
    unit, index = 4 * size_out, index.to(tl.int64)
    numerator = 4 * index * size_in if SAMPLE else (2 * index + 1) * size_in - 2 * size_out
    floor = (numerator + unit) // unit - 1  # the numerator is above -unit
    return floor.to(tl.int32), (numerator - floor * unit).to(tl.int32)


@triton.jit
def pace(size_in, size_out, SAMPLE: tl.constexpr):
    """From one query (or sampled point) to the next: whole pixels, and the rest in 1 / (4 * size_out)."""
    step = (4 if SAMPLE else 2) * size_in
    whole = step // (4 * size_out)
    return whole, step - whole * (4 * size_out)


@triton.jit
def next_query(floor, rest, pace, unit):
    """Where the query after this one lies; without a division, which would be repeated for every line."""
    rest += pace[1]
    over = rest >= unit
    return floor + pace[0] + over.to(floor.dtype), tl.where(over, rest - unit, rest)


@triton.jit
def quotient(numerator, denominator, ACC: tl.constexpr):
    """Of two integers, rounded correctly: ``/`` is not in float32."""
    if tl.float64 == ACC:
        return numerator.to(ACC) / denominator.to(ACC)
    else:
        return tl.div_rn(numerator.to(ACC), denominator.to(ACC))


@triton.jit
def reduced(near_0, far_0, near_1, far_1, REDUCE: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """Mean or maximum of a cell's queries, given line by line, and the winner, counted row by row."""
    query_1, query_2 = turned(far_0, near_1, CHANNELS_LAST)
    winner = tl.zeros(near_0.shape, tl.int32)
    if REDUCE == "mean":
        best = 0.25 * near_0 + 0.25 * query_1 + 0.25 * query_2 + 0.25 * far_1
    else:
        best, winner = _larger(near_0, winner, query_1, 1)
        best, winner = _larger(best, winner, query_2, 2)
        best, winner = _larger(best, winner, far_1, 3)
    return best, winner


@triton.jit
def _larger(best, winner, value, query: tl.constexpr):
    """The first of equal queries wins, and NaN wins over all; where there is one, the last query is told."""
    better = ~(value <= best)
    return tl.maximum(best, value, propagate_nan=tl.PropagateNan.ALL), tl.where(better, query, winner)
