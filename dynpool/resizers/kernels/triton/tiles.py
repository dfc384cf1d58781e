"""Tiles of halved maps in either layout: which row of cells, columns and planes a program owns, where their pixels lie.

Planes are samples by channels (or planes n * C + c if contiguous). Offsets of planes and rows have 64 bits.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["columns_from", "load_pair", "offset", "place", "planes_of", "store_pair"]


@triton.jit
def place(rows, columns, groups, steps, ACROSS: tl.constexpr):
    """This program's row, first column, and the first of its groups of planes and one past the last."""
    program = tl.program_id(0)
    blocks = tl.cdiv(columns, ACROSS)
    column = program % blocks * ACROSS
    program //= blocks
    start = program // rows * steps
    return program % rows, column, start, tl.minimum(start + steps, groups)


@triton.jit
def columns_from(first, COUNT: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """So many columns along their direction of the tile."""
    return first + (tl.arange(0, COUNT)[:, None] if CHANNELS_LAST else tl.arange(0, COUNT)[None, :])


@triton.jit
def planes_of(
    group, samples, channels, out_h, out_w, CHANNELS_LAST: tl.constexpr, PLANES: tl.constexpr, LANES: tl.constexpr
):
    """A group of planes: the mask of existence, and the offsets of the first pixel and of the first cell of each."""
    cells = out_h.to(tl.int64) * out_w
    if CHANNELS_LAST:
        blocks = tl.cdiv(channels, LANES)
        channel = group % blocks * LANES + tl.arange(0, LANES)[None, :]
        first = group // blocks * (cells * channels)
        return channel < channels, 4 * first + channel, first + channel
    else:
        plane = group * PLANES + tl.arange(0, PLANES)[:, None]
        return plane < samples * channels, plane * (4 * cells), plane * cells


@triton.jit
def offset(row, column, columns, channels, CHANNELS_LAST: tl.constexpr):
    """Offset of a pixel in its plane."""
    if CHANNELS_LAST:
        return row.to(tl.int64) * (columns * channels) + column * channels
    else:
        return row.to(tl.int64) * columns + column


@triton.jit
def load_pair(x, row, tile, CHANNELS_LAST: tl.constexpr, ALONG: tl.constexpr, LANES: tl.constexpr, ACC: tl.constexpr):
    """Of each cell of 2 x 2 pixels the left and the right pixel of a row.

    Args:
        x: pointers to the first pixel of each plane.
        row: of pixels.
        tile: first column of cells, mask of cells, mask of planes, columns of pixels, channels.
    """
    first, mask, there, width, channels = tile
    if CHANNELS_LAST:
        left = x + offset(row, 2 * columns_from(first, ALONG, True), width, channels, True)
        return tl.load(left, mask, 0).to(ACC), tl.load(left + channels, mask, 0).to(ACC)
    else:  # memory holds them in turns
        column = columns_from(2 * first, 2 * LANES, False)
        both = tl.load(x + offset(row, column, width, 1, False), there & (column < width), 0)
        left, right = tl.split(tl.reshape(both, (ALONG, LANES, 2)))
        return left.to(ACC), right.to(ACC)


@triton.jit
def store_pair(x, row, tile, left, right, CHANNELS_LAST: tl.constexpr, LANES: tl.constexpr):
    """The inverse of :func:`load_pair`."""
    first, mask, there, width, channels = tile
    dtype: tl.constexpr = x.dtype.element_ty
    if CHANNELS_LAST:
        target = x + offset(row, 2 * columns_from(first, left.shape[0], True), width, channels, True)
        tl.store(target, left.to(dtype), mask)
        tl.store(target + channels, right.to(dtype), mask)
    else:
        column = columns_from(2 * first, 2 * LANES, False)
        target = x + offset(row, column, width, 1, False)
        tl.store(target, tl.interleave(left.to(dtype), right.to(dtype)), there & (column < width))
