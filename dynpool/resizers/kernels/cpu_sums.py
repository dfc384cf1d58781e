"""Sums over rows of a table, from which :mod:`.cpu` makes every map of :mod:`.reference`.

A map is cut into strips of its results, each of which reads a few rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import Kind, Row, map_rows, transpose

__all__ = ["Strip", "Sums", "gradients", "values"]


@dataclass(frozen=True)
class Sums:
    """``out[i] = sum of weight[t] * table[index[t]] for t in [offsets[i], offsets[i + 1])``."""

    index: Tensor
    offsets: Tensor
    weight: Tensor

    def __call__(self, table: Tensor) -> Tensor:
        return torch.embedding_bag(table, self.index, self.offsets, False, 0, False, self.weight, True)[0]


@dataclass(frozen=True)
class Strip:
    """How to compute ``rows`` of some results from the rows ``reads`` of a table: the sums for each result."""

    rows: slice
    reads: slice
    sums: tuple[Sums, ...]


@dataclass(frozen=True)
class _Axis:
    """A map along one axis: ``place`` (what each tap adds to the row's index) and ``weight``, (cells, parts, taps)."""

    place: Tensor
    weight: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], places: Sequence[int], parts: int = 1) -> _Axis:
        taps = max(1, *(len(row) for row in rows))
        place = torch.zeros(len(rows), taps, dtype=torch.int64)
        weight = torch.zeros(len(rows), taps, dtype=torch.float64)
        for i, row in enumerate(rows):
            for k, (position, value) in enumerate(row.items()):
                place[i, k], weight[i, k] = places[position], value
        return cls(place.view(-1, parts, taps), weight.view(-1, parts, taps))


def _product(height: _Axis, width: _Axis, copies: int, stride: int) -> Sums:
    """The map of both axes, row cell by column cell and part by part, on ``copies`` tables of ``stride`` rows."""
    rows, columns = (slice(None), None, slice(None), None, slice(None), None), (None, slice(None)) * 3
    weight = height.weight[rows] * width.weight[columns]  # (rows, columns, row parts, column parts, taps, taps)
    index = (height.place[rows] + width.place[columns])[weight != 0]
    count = (weight != 0).sum((-2, -1)).flatten().repeat(copies)
    offsets = F.pad(count.cumsum(0), (1, 0))
    index = (index + stride * torch.arange(copies)[:, None]).flatten()
    return Sums(index, offsets, weight[weight != 0].to(torch.float32).repeat(copies))


def _strips(maps: Sequence[Sums], cuts: Sequence[int], parts: int, unit: int) -> list[Strip]:
    """Cut maps of one table into strips between ``cuts``.

    A row of the results is ``parts`` sums. A row of the table counts as ``unit`` rows in the maps.
    """
    strips = []
    for first, last in pairwise(cuts):
        taps = [each.offsets[parts * first : parts * last + 1] for each in maps]
        index = [each.index[offsets[0] : offsets[-1]] for each, offsets in zip(maps, taps, strict=True)]
        read = torch.cat(index) // unit
        low, high = (int(read.min()), int(read.max()) + 1) if len(read) else (0, 1)
        sums = tuple(
            Sums((i - low * unit).to(torch.int32), (o - o[0]).to(torch.int32), each.weight[o[0] : o[-1]])
            for each, o, i in zip(maps, taps, index, strict=True)
        )
        strips.append(Strip(slice(first, last), slice(low, high), sums))
    return strips


@lru_cache(maxsize=32)
def values(reduce: str, height: int, width: int, out_h: int, out_w: int, copies: int, count: int) -> list[Strip]:
    """From the pixels of ``copies`` samples to queries, the four of a cell in a row, or to sampled points.

    One sample is cut into ``count`` strips of cells.
    """
    kind: Kind = "sample" if reduce == "sample" else "query"
    parts = 1 if reduce == "sample" else 2
    with torch.inference_mode(False):
        rows = _Axis.of(map_rows(kind, height, out_h), range(0, height * width, width), parts)
        columns = _Axis.of(map_rows(kind, width, out_w), range(width), parts)
        whole = _product(rows, columns, copies, height * width)
        return _strips([whole], _cuts(out_h, out_w, copies, count), parts**2, 1)


@lru_cache(maxsize=32)
def gradients(
    reduce: str, height: int, width: int, out_h: int, out_w: int, copies: int, count: int, wanted: tuple[str, ...]
) -> list[Strip]:
    """From queries or cells to pixels: the gradient to x, and what x is multiplied with for alpha.

    A row of the table is a cell, which has four queries for "max". There, ``reduce`` may be "grid" too: a row then is a
    query, and they lie as in the grid of queries. ``wanted`` are some of "x", "rows" and "columns". One sample is cut
    into ``count`` strips of pixels.
    """
    of_queries = reduce in ("max", "grid")
    value: Kind = "query" if of_queries else reduce  # type: ignore[assignment]
    surrogate: Kind = "query" if of_queries else "mean"
    slope: Kind = "slope" if of_queries else "mean slope"
    kinds = {"x": (value, value), "rows": (slope, surrogate), "columns": (surrogate, slope)}
    parts = 2 if of_queries else 1
    row_places: Sequence[int] = [parts * (parts * i * out_w + a) for i in range(out_h) for a in range(parts)]
    column_places: Sequence[int] = [parts * parts * k + b for k in range(out_w) for b in range(parts)]
    if reduce == "grid":
        row_places, column_places = range(0, 4 * out_h * out_w, 2 * out_w), range(2 * out_w)
    maps = []
    with torch.inference_mode(False):
        for kind_h, kind_w in (kinds[what] for what in wanted):
            rows = _Axis.of(transpose(map_rows(kind_h, height, out_h), height), row_places)
            columns = _Axis.of(transpose(map_rows(kind_w, width, out_w), width), column_places)
            maps.append(_product(rows, columns, copies, parts**2 * out_h * out_w))
        return _strips(maps, _cuts(height, width, copies, count), 1, 1 if reduce == "grid" else parts**2)


def _cuts(height: int, width: int, copies: int, count: int) -> list[int]:
    """Where the results of ``copies`` samples are cut: nowhere, or one sample into ``count`` strips of like height."""
    if copies > 1:
        return [0, copies * height * width]
    count = min(count, height)
    return [width * (height * k // count) for k in range(count + 1)]
