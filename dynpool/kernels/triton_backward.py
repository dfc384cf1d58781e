"""The backward kernels: a gather by pixels for any sizes, and the sum of its partial sums that alpha's gradient is."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tiles import columns_from, offset, place, planes_of, quotient

__all__ = ["alpha_kernel", "backward_kernel"]


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
def backward_kernel(
    dy, x, winners, dx, partials, planes, channels, height, width, out_h, out_w, cells_in_a_row, groups, steps,
    REDUCE: tl.constexpr, PIXELS: tl.constexpr, ALPHA: tl.constexpr, CELLS: tl.constexpr, MORE: tl.constexpr,
    CHANNELS_LAST: tl.constexpr, ALONG: tl.constexpr, LANES: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Of a row of pixels, some columns, some planes: the gradient to x and two partial sums of the one to alpha.

    Weights of the first CELLS (at most 3) cells over each column are found once for all planes; those of MORE cells
    each time.
    """
    SAMPLE: tl.constexpr = REDUCE == "sample"
    ACROSS: tl.constexpr = ALONG if CHANNELS_LAST else LANES
    if WIDE:  # then all that is derived from these is
        height, width, out_h, out_w = height.to(tl.int64), width.to(tl.int64), out_h.to(tl.int64), out_w.to(tl.int64)
    width = width // ALIGN * ALIGN  # tells the compiler of a width that allows vectors
    h, first, start, end = place(height, width, groups, steps, WIDE, ACROSS)
    w = columns_from(first, ACROSS, CHANNELS_LAST)
    first_k = _first_cell(w, width, out_w, SAMPLE)
    first_i, end_i = _first_cell(h, height, out_h, SAMPLE), _end_of_cells(h, height, out_h, SAMPLE)
    column_0 = _weights(first_k, w, width, out_w, REDUCE, ALPHA, ACC)
    column_1 = _weights(first_k + 1, w, width, out_w, REDUCE, ALPHA, ACC)
    column_2 = _weights(first_k + 2, w, width, out_w, REDUCE, ALPHA, ACC)
    columns = column_0, column_1, column_2
    nothing = tl.zeros((ALONG, LANES), ACC)
    total_h, total_w = nothing, nothing
    for group in range(start, end):
        there, pixels, cells = planes_of(
            group, planes, channels, height * width, out_h * out_w, CHANNELS_LAST, ALONG, LANES
        )
        mask = there & (w < width)
        pixels += offset(h, w, width, channels, CHANNELS_LAST)
        sums = nothing, nothing, nothing
        for i in range(first_i, end_i):
            row = _weights(i, h, height, out_h, REDUCE, ALPHA, ACC)
            cell = cells + offset(i, first_k, out_w, channels, CHANNELS_LAST)
            next_cell = channels if CHANNELS_LAST else 1
            for k in tl.static_range(CELLS):
                exists = mask & (first_k + k < out_w)
                sums = _add_cell(sums, cell, exists, row, columns[k], dy, winners, REDUCE, PIXELS, ALPHA, ACC)
                cell += next_cell
            if MORE:
                for k in range(CELLS, cells_in_a_row):
                    column = _weights(first_k + k, w, width, out_w, REDUCE, ALPHA, ACC)
                    exists = mask & (first_k + k < out_w)
                    sums = _add_cell(sums, cell, exists, row, column, dy, winners, REDUCE, PIXELS, ALPHA, ACC)
                    cell += next_cell
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
    stride = size_in / (size_out * tl.load(alpha + axis * alpha_stride).to(tl.float64))
    tl.store(dalpha + axis, (tl.sum(total) * (0.25 * stride * stride)).to(dalpha.dtype.element_ty))
