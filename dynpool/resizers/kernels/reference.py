"""DynOPool in pure PyTorch: every dtype, every device; the implementation for every case, and the oracle of the others.

All that the operator does along an axis is linear in the pixels and sparse, so one idea carries the file: a
:class:`Taps` says which pixels, with which weights, make each output position. The queries, their pair means, the
sampled points and the derivatives of queries with respect to their distance from the cell centre are such maps; axes
are mapped one after the other, and the gradient to the input applies the transposed maps. A transposed map gathers too
(each input pixel sums over the few queries that cover it, in a fixed order), so results are bitwise reproducible.

float16 and bfloat16 are computed in float32, float64 in float64. A pixel of zero weight has no influence on a map or
its gradient, whatever its value: an infinite or NaN pixel stays within the footprint it belongs to. (The gradient to
alpha, a sum over all of them, may become NaN.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dynpool.size_math import Grid, query_grid, sample_grid

from .layout import accumulator, channels_last

__all__ = ["Kind", "Row", "Taps", "backward", "forward", "map_rows", "taps", "transpose"]

Kind = Literal["query", "mean", "sample", "slope", "mean slope"]
Row = dict[int, float]
_Known = dict[tuple[int, ...], Tensor]


# ------------------------------------------------------------------------------------------------ maps along an axis


@dataclass(frozen=True)
class Taps:
    """A sparse linear map along one axis: ``out[i] = sum_k weight[k][i] * x[index[k][i]]``, zero where ``empty``."""

    index: tuple[tuple[int, ...], ...]
    weight: tuple[tuple[float, ...], ...]
    empty: tuple[int, ...]

    @property
    def slice(self) -> slice | None:
        """The slice of x that this map is, if it copies pixels at a regular distance and does nothing else."""
        if len(self.index) != 1 or self.empty or any(weight != 1.0 for weight in self.weight[0]):
            return None
        index = self.index[0]
        step = index[1] - index[0] if len(index) > 1 else 1
        if step < 1 or any(b - a != step for a, b in pairwise(index)):
            return None
        return slice(index[0], index[-1] + 1, step)


@lru_cache(maxsize=512)
def taps(kind: Kind, size_in: int, size_out: int, *, transposed: bool = False) -> Taps:
    """The map ``kind`` from ``size_in`` pixels to ``size_out`` cells, or its transpose.

    - ``"query"``: bilinear values at the ``2 * size_out`` queries (Eq. 2);
    - ``"mean"``: the mean of each cell's two queries;
    - ``"sample"``: the value at each cell's first pixel;
    - ``"slope"``: the derivative of each query's value to the distance ``delta`` of the query from the cell centre;
    - ``"mean slope"``: the same for the mean of each cell's two queries.
    """
    rows = map_rows(kind, size_in, size_out)
    return _pack(transpose(rows, size_in) if transposed else rows)


def map_rows(kind: Kind, size_in: int, size_out: int) -> list[Row]:
    """The map ``kind`` of :func:`taps` as a matrix: for each output position, the pixels it depends on and weights."""
    if kind == "sample":
        return _values(sample_grid(size_in, size_out), size_in)
    grid = query_grid(size_in, size_out)
    rows = _values(grid, size_in) if kind in ("query", "mean") else _slopes(grid, size_in)
    return rows if kind in ("query", "slope") else _pair_means(rows)


def _values(grid: Grid, size: int) -> list[Row]:
    """Linear interpolation between the two neighbours of each position, clamped to the border."""
    rows = []
    for floor, rest in zip(*grid[:2], strict=True):
        if floor < 0 or floor >= size - 1 or rest == 0:
            rows.append({min(max(floor, 0), size - 1): 1.0})
        else:
            rows.append({floor: (grid[2] - rest) / grid[2], floor + 1: rest / grid[2]})
    return rows


def _slopes(grid: Grid, size: int) -> list[Row]:
    """Derivative of each query to its distance from the cell centre: even queries move down, odd ones up.

    Between pixels it is the difference of the two. On a pixel, where the map has a kink, it is the mean of the two
    one-sided derivatives, with the map constant outside its border. Outside the border it is zero.
    """
    rows: list[Row] = []
    for j, (floor, rest) in enumerate(zip(*grid[:2], strict=True)):
        low, high, weight = (floor, floor + 1, 1.0) if rest else (floor - 1, floor + 1, 0.5)
        low, high = max(low, 0), min(high, size - 1)
        inside = floor >= 0 and low < high  # beyond the last pixel both neighbours are that pixel
        signed = weight if j % 2 else -weight
        rows.append({low: -signed, high: signed} if inside else {})
    return rows


def _pair_means(rows: list[Row]) -> list[Row]:
    means = []
    for first, second in zip(rows[0::2], rows[1::2], strict=True):
        row = {index: 0.5 * weight for index, weight in first.items()}
        for index, weight in second.items():
            row[index] = row.get(index, 0.0) + 0.5 * weight
        means.append({index: weight for index, weight in sorted(row.items()) if weight != 0.0})
    return means


def transpose(rows: list[Row], size_in: int) -> list[Row]:
    """The transposed matrix: for each of ``size_in`` pixels the weights of the outputs that depend on it."""
    transposed: list[Row] = [{} for _ in range(size_in)]
    for position, row in enumerate(rows):
        for index, weight in row.items():
            transposed[index][position] = weight
    return transposed


def _pack(rows: list[Row]) -> Taps:
    """Give all rows the same number of taps.

    A missing tap is made by halving the first one, not by one of weight zero: the halves, which come first, add up
    exactly, while zero times an infinite value would make a NaN.
    """
    count = max(1, *(len(row) for row in rows))
    packed = []
    for row in rows:
        entries = list(row.items()) or [(0, 0.0)]
        while len(entries) < count:
            index, weight = entries.pop(0)
            entries = [(index, 0.5 * weight)] * 2 + entries
        packed.append(entries)
    return Taps(
        index=tuple(tuple(entries[k][0] for entries in packed) for k in range(count)),
        weight=tuple(tuple(entries[k][1] for entries in packed) for k in range(count)),
        empty=tuple(i for i, row in enumerate(rows) if not row),
    )


@lru_cache(maxsize=512)
def _tensors(
    kind: Kind, size_in: int, size_out: int, transposed: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The map's indices, weights and empty positions on a device."""
    found = taps(kind, size_in, size_out, transposed=transposed)
    with torch.inference_mode(False):
        return (
            torch.tensor(found.index, device=device),
            torch.tensor(found.weight, dtype=dtype, device=device),
            torch.tensor(found.empty, dtype=torch.int64, device=device),
        )


def _map(x: Tensor, dim: int, kind: Kind, size_in: int, size_out: int, *, transposed: bool = False) -> Tensor:
    """Apply a map along ``dim`` of x. The result may be a view of x."""
    found = taps(kind, size_in, size_out, transposed=transposed)
    if found.slice is not None:
        return x[(slice(None),) * dim + (found.slice,)]
    index, weight, empty = _tensors(kind, size_in, size_out, transposed, x.dtype, x.device)
    shape = [1] * x.dim()
    shape[dim] = -1
    out = x.index_select(dim, index[0]).mul_(weight[0].view(shape))
    for k in range(1, len(found.index)):
        out.addcmul_(x.index_select(dim, index[k]), weight[k].view(shape))
    return out.index_fill_(dim, empty, 0.0) if found.empty else out


# --------------------------------------------------------------------------------------------- forward and backward
#
# For maps of two axes, (N, C, H, W), and of three, (N, C, D, H, W). Inside, channels come last: the innermost dimension
# is never indexed.

_MAX_POOL = {2: F.max_pool2d, 3: F.max_pool3d}
_UNPOOL = {2: torch.ops.aten.max_pool2d_with_indices_backward, 3: torch.ops.aten.max_pool3d_with_indices_backward}


def forward(x: Tensor, size: Sequence[int], reduce: str) -> tuple[Tensor, Tensor]:
    """Pool x to ``size``; for "max" also say which query won.

    Args:
        x: (N, C, H, W), or (N, C, D, H, W).
        size: (H_out, W_out), or (D_out, H_out, W_out).
        reduce: "max", "mean" or "sample".

    Returns:
        ``y`` of shape (N, C, *size), dtype of x; and the winners, uint8 of the same shape, ``2 * a + b`` for row query
        ``a`` and column query ``b`` of the cell, with the plane's query in front ``4 * a + 2 * b + c`` (an empty tensor
        unless ``reduce`` is "max").
    """
    kind: Kind = {"max": "query", "mean": "mean", "sample": "sample"}[reduce]  # type: ignore[assignment]
    values = _inner(x)
    for dim, cells in enumerate(size, 1):
        values = _map(values, dim, kind, values.shape[dim], cells)
    if reduce != "max":
        return _outer(values, x), x.new_empty(0, dtype=torch.uint8)
    best, winner = _max_of_cells(values.movedim(-1, 1))
    return best.to(x.dtype), winner


def _max_of_cells(values: Tensor) -> tuple[Tensor, Tensor]:
    """Largest of each cell's queries, (N, C, ...), and which it is; ties and NaN are settled by max_pool itself."""
    size = [queries // 2 for queries in values.shape[2:]]
    if values.numel() == 0:
        empty = values.new_empty((*values.shape[:2], *size))
        return empty, empty.to(torch.uint8)
    best, index = _MAX_POOL[len(size)](values, 2, return_indices=True)
    step = index - _first_queries(size, values.device)
    bits = []
    for stride in _steps(size):
        bits.append(step >= stride)
        step = step - stride * bits[-1] if len(bits) < len(size) - 1 else step
    winner = bits[0].to(torch.uint8)
    for bit in bits[1:]:
        winner.mul_(2).add_(bit)
    return best, winner.mul_(2).add_(step.to(torch.uint8).bitwise_and_(1))  # rows of queries have even lengths


def backward(
    dy: Tensor, x: Tensor | None, winner: Tensor, size_in: Sequence[int], reduce: str, need_x: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of :func:`forward`.

    Args:
        dy: (N, C, H_out, W_out) or (N, C, D_out, H_out, W_out), gradient to the output.
        x: the input, if the gradient to alpha is wanted.
        winner: second result of :func:`forward`.
        size_in: (H, W) or (D, H, W).
        reduce: as in the forward pass. "sample" gives alpha the gradient that "mean" has at the same x and dy.
        need_x: whether the gradient to x is wanted.

    Returns:
        the gradient to x in the dtype of dy, and the derivative along each axis with respect to delta, the queries'
        distance from their cell centre in units of ``H / (4 * H_out)``: (2,) or (3,), float32 or float64.
    """
    size, axes = dy.shape[2:], range(len(size_in))
    kind: Kind = {"max": "query", "mean": "mean", "sample": "sample"}[reduce]  # type: ignore[assignment]
    surrogate: Kind = "query" if reduce == "max" else "mean"
    slope: Kind = "slope" if reduce == "max" else "mean slope"
    inner = _inner(dy)
    grad = _to_queries(inner.movedim(-1, 1), winner).movedim(1, -1) if reduce == "max" else inner

    known: _Known = {(): grad}
    dx = _outer(_gathered(known, tuple(axes), kind, size_in, size), dy) if need_x else None
    if x is None:
        return dx, None
    known = known if kind == surrogate else {(): grad}
    pixels, spread = _inner(x), []
    for axis in axes:
        # in place: a slope is never a view of x, since its weights add up to zero
        slopes = _map(pixels, axis + 1, slope, size_in[axis], size[axis])
        others = tuple(other for other in axes if other != axis)
        spread.append(slopes.mul_(_gathered(known, others, surrogate, size_in, size)).sum())
    return dx, torch.stack(spread)


def _gathered(known: _Known, axes: tuple[int, ...], kind: Kind, size_in: Sequence[int], size: Sequence[int]) -> Tensor:
    """The gradient to the pixels along ``axes``, to the queries along the others; ``known`` has it for none."""
    if axes not in known:
        axis, rest = axes[0], _gathered(known, axes[1:], kind, size_in, size)
        known[axes] = _map(rest, axis + 1, kind, size_in[axis], size[axis], transposed=True)
    return known[axes]


def _to_queries(dy: Tensor, winner: Tensor) -> Tensor:
    """Put each cell's gradient at its winning query, zero at the others: the backward of max_pool. (N, C, ...)."""
    (n, channels), size = dy.shape[:2], dy.shape[2:]
    queries = dy.new_empty((n, *(2 * cells for cells in size), channels)).movedim(-1, 1)
    if dy.numel() == 0:
        return queries.zero_()
    won = winner.to(torch.int64, memory_format=channels_last(len(size)))
    index = won + _first_queries(size, dy.device)
    steps = [*_steps(size), 1]
    for bit, (step, inner) in enumerate(pairwise(steps)):
        index.add_(won >> (len(size) - 1 - bit), alpha=step - 2 * inner)
    window = [[number] * len(size) for number in (2, 2, 0, 1)]  # kernel, stride, padding, dilation
    grad: Tensor = _UNPOOL[len(size)](dy, queries, *window, False, index)
    return grad


def _steps(size: Sequence[int]) -> list[int]:
    """How far the two queries of a cell are apart in the flattened grid of queries, along every axis but the last."""
    return [math.prod(2 * cells for cells in size[axis:]) for axis in range(1, len(size))]


def _first_queries(size: Sequence[int], device: torch.device) -> Tensor:
    """Index of each cell's first query in the flattened grid of queries, of shape ``size``."""
    first = torch.arange(0, 2 * size[0], 2, device=device)
    for cells in size[1:]:
        first = (2 * cells * first).unsqueeze(-1) + torch.arange(0, 2 * cells, 2, device=device)
    return first


def _inner(x: Tensor) -> Tensor:
    return x.movedim(1, -1).to(accumulator(x.dtype)).contiguous()


def _outer(values: Tensor, like: Tensor) -> Tensor:
    return values.movedim(-1, 1).to(like.dtype)
