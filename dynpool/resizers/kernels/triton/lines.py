"""Walking over a map line by line, in either layout: what the forward and the backward kernel share.

Contiguous maps are walked row by row, channels_last maps column by column, so that what memory runs along (columns, or
channels) lies along a tile's lanes. A line has positions across it: the columns of a row, one for each lane, or the
rows of a column, one for the whole tile. A tile is (PLANES, LANES): contiguous planes are n * C + c, channels_last ones
are samples, as channels are lanes already.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .tiles import offset as pixel_offset

__all__ = ["first_query", "next_query", "offset", "pace", "place", "quotient", "turned"]


@triton.jit
def place(lines, across, each, WIDE: tl.constexpr, LANES: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """This program's first line, one past its last, its positions across and its group of planes.

    Neighbours across come first, then the walks over the same planes: what they both read is in the L2 cache.
    """
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    if CHANNELS_LAST:
        position = program % across
        program //= across
    else:
        blocks = tl.cdiv(across, LANES)
        position = program % blocks * LANES + tl.arange(0, LANES)[None, :]
        program //= blocks
    walks = tl.cdiv(lines, each)
    start = program % walks * each
    return start, tl.minimum(start + each, lines), position, program // walks


@triton.jit
def turned(rows, columns, CHANNELS_LAST: tl.constexpr):
    """Rows and columns as lines and positions across them, and the other way round."""
    return (columns, rows) if CHANNELS_LAST else (rows, columns)


@triton.jit
def offset(line, position, width, channels, CHANNELS_LAST: tl.constexpr):
    """Of a pixel in its plane, ``width`` being that of a row."""
    row, column = turned(line, position, CHANNELS_LAST)
    return pixel_offset(row, column, width, channels, CHANNELS_LAST)


@triton.jit
def first_query(index, size_in, size_out, SAMPLE: tl.constexpr):
    """Where query (or sampled point) ``index`` is: the pixel before, and how far behind, in 1 / (4 * size_out)."""
    unit = 4 * size_out
    numerator = 4 * index * size_in if SAMPLE else (2 * index + 1) * size_in - 2 * size_out
    floor = (numerator + unit) // unit - 1  # the numerator is above -unit
    return floor, numerator - floor * unit


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
