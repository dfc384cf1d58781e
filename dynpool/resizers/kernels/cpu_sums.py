"""Sums over rows of a table, from which :mod:`.cpu` and :mod:`.native` make every map of :mod:`.reference`.

A map is cut into strips of its results, each of which reads a few rows of the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import Kind, Row, map_rows, transpose

__all__ = ["Strip", "Sums", "fits", "gradients", "value_map", "values"]

_MAX_TAPS = 2**21  # of one map: tables of up to 50 MB


def fits(x: Tensor, pixels: Sequence[int], cells: Sequence[int]) -> bool:
    """Whether maps of so many pixels and cells, with values as in x, are pooled by tables: on a CPU, except in float64
    and where they would be very large.
    """
    queries = 2 ** len(cells)
    taps = queries * max(queries * math.prod(cells), math.prod(pixels))
    return x.device.type == "cpu" and x.dtype != torch.float64 and x.numel() > 0 and taps <= _MAX_TAPS


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


def _product(axes: Sequence[_Axis], copies: int, stride: int) -> Sums:
    """The map of all axes, in row-major order of cells and then parts, on ``copies`` tables of ``stride`` rows."""
    weight, place = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
    for k, axis in enumerate(axes):  # dimensions: the cells of every axis, then the parts, then the taps
        shape = [1] * 3 * len(axes)
        shape[k :: len(axes)] = axis.weight.shape
        weight, place = weight * axis.weight.view(shape), place + axis.place.view(shape)
    taken = weight != 0
    count = taken.flatten(-len(axes)).sum(-1).flatten().repeat(copies)
    offsets = F.pad(count.cumsum(0), (1, 0))
    index = (place[taken] + stride * torch.arange(copies)[:, None]).flatten()
    return Sums(index, offsets, weight[taken].to(torch.float32).repeat(copies))


def _strips(maps: Sequence[Sums], cuts: Sequence[int], parts: int, queries: int) -> list[Strip]:
    """Cut maps of one table into strips between ``cuts``.

    A row of the results is ``parts`` sums. A row of the table counts as ``queries`` rows in the maps; a strip has
    them apart, the first ones of all rows before the second ones.
    """
    strips = []
    for first, last in pairwise(cuts):
        taps = [each.offsets[parts * first : parts * last + 1] for each in maps]
        index = [each.index[offsets[0] : offsets[-1]] for each, offsets in zip(maps, taps, strict=True)]
        read = torch.cat(index) // queries
        low, high = (int(read.min()), int(read.max()) + 1) if len(read) else (0, 1)
        rows = [i % queries * (high - low) + i // queries - low for i in index]
        sums = tuple(
            Sums(i.to(torch.int32), (o - o[0]).to(torch.int32), each.weight[o[0] : o[-1]])
            for each, o, i in zip(maps, taps, rows, strict=True)
        )
        strips.append(Strip(slice(first, last), slice(low, high), sums))
    return strips


@lru_cache(maxsize=32)
def values(reduce: str, size_in: tuple[int, ...], size: tuple[int, ...], copies: int, count: int) -> list[Strip]:
    """From the pixels of ``copies`` samples to queries, those of a cell in a row, or to sampled points.

    One sample is cut into ``count`` strips of cells.
    """
    with torch.inference_mode(False):
        whole = value_map(reduce, size_in, size, copies)
        return _strips([whole], _cuts(size, copies, count), 1 if reduce == "sample" else 2 ** len(size), 1)


@lru_cache(maxsize=32)
def gradients(
    reduce: str,
    size_in: tuple[int, ...],
    size: tuple[int, ...],
    copies: int,
    count: int,
    *,
    need_x: bool,
    need_alpha: bool,
) -> list[Strip]:
    """From queries or cells to pixels: the gradient to x, if needed, and what x is multiplied with for each alpha.

    A row of the table is a cell, which has as many queries as corners for "max". One sample is cut into ``count``
    strips of pixels.
    """
    of_queries, ndim = reduce == "max", len(size)
    value: Kind = "query" if of_queries else reduce  # type: ignore[assignment]
    surrogate: Kind = "query" if of_queries else "mean"
    slope: Kind = "slope" if of_queries else "mean slope"
    wanted = [(value,) * ndim] * need_x
    wanted += [tuple(slope if k == axis else surrogate for k in range(ndim)) for axis in range(ndim)] * need_alpha
    parts = 2 if of_queries else 1
    places = [
        [parts**ndim * i * step + a * parts ** (ndim - 1 - k) for i in range(n) for a in range(parts)]
        for k, (n, step) in enumerate(zip(size, _steps(size), strict=True))
    ]
    maps = []
    with torch.inference_mode(False):
        for kinds in wanted:
            axes = [
                _Axis.of(transpose(map_rows(kind, pixels, cells), pixels), rows)
                for kind, pixels, cells, rows in zip(kinds, size_in, size, places, strict=True)
            ]
            maps.append(_product(axes, copies, parts**ndim * math.prod(size)))
        return _strips(maps, _cuts(size_in, copies, count), 1, parts**ndim)


def value_map(reduce: str, size_in: Sequence[int], size: Sequence[int], copies: int = 1) -> Sums:
    """From pixels to queries, those of a cell in a row, or to sampled points."""
    kind: Kind = "sample" if reduce == "sample" else "query"
    parts = 1 if reduce == "sample" else 2
    axes = [
        _Axis.of(map_rows(kind, pixels, cells), range(0, pixels * step, step), parts)
        for pixels, cells, step in zip(size_in, size, _steps(size_in), strict=True)
    ]
    return _product(axes, copies, math.prod(size_in))


def _steps(size: Sequence[int]) -> list[int]:
    """How many rows of a table lie between neighbours along each axis."""
    return [math.prod(size[axis + 1 :]) for axis in range(len(size))]


def _cuts(size: Sequence[int], copies: int, count: int) -> list[int]:
    """Where the results of ``copies`` samples are cut: nowhere, or one sample along its first axis, into ``count``."""
    if copies > 1:
        return [0, copies * math.prod(size)]
    count = min(count, size[0])
    return [math.prod(size[1:]) * (size[0] * k // count) for k in range(count + 1)]
