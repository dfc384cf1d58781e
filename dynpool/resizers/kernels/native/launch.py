"""DynOPool on a CPU in compiled C: float32, in which float16 and bfloat16 are computed, too.

The maps of :mod:`.reference` are weighted sums of a few pixels, the same for all channels. ``pool.c`` computes them for
16 planes at a time, straight from the pixels to the largest query and back: the gradient to each pixel is gathered from
the cells that it is in. Every sum has its fixed order, whatever the number of threads, so results are bitwise
reproducible.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from .. import cpu_sums
from ..layout import channels_last, memory_format
from ..reference import Kind, map_rows, transpose
from . import build

__all__ = ["backward", "forward", "handles"]

_LANES, _BLOCK = 16, 64  # what pool.c takes at a time: planes, or cells or pixels of a sample
_ALONE = 2**16  # pixels and cells for which one thread is as fast as all


class _Job(ctypes.Structure):
    """As in pool.c."""

    _shapes = ("planes", "channels", "pixels", "cells", "queries", "mean", "axes", "channels_last")
    _work = ("as_is", "items", "threads")
    _tables = ("start", "index", "query", "weight")
    _maps = ("x", "y", "dx", "winner", "slopes")
    _fields_ = (
        *((name, ctypes.c_long) for name in (*_shapes, *_work)),
        *((name, ctypes.c_void_p) for name in (*_tables, *_maps, "parallel")),
    )


@dataclass(frozen=True)
class _Table:
    """Taps of all rows, one after the other: see pool.c. Without derivatives no query is told."""

    start: Tensor
    index: Tensor
    query: Tensor | None
    weight: Tensor


def handles(x: Tensor, pixels: Sequence[int], cells: Sequence[int]) -> bool:
    """Whether this implementation pools maps of so many pixels and cells, with values as in x.

    It does if :func:`.cpu_sums.fits`, and if there is a C compiler.
    """
    return cpu_sums.fits(x, pixels, cells) and build.library() is not None


def forward(x: Tensor, size: Sequence[int], reduce: str, *, keep_winner: bool = True) -> tuple[Tensor, Tensor]:
    """As :func:`.reference.forward`; without ``keep_winner`` the second result is empty for "max" as well."""
    size, layout = tuple(size), memory_format(x)
    pixels = _dense(x, layout)
    y = torch.empty((*x.shape[:2], *size), dtype=torch.float32, memory_format=layout)
    kept = keep_winner and reduce == "max"
    winner = torch.empty_like(y, dtype=torch.uint8) if kept else torch.empty(0, dtype=torch.uint8)
    table = _values(reduce, tuple(x.shape[2:]), size)
    _run(table, reduce, layout, pixels, y, {"x": pixels, "y": y, "winner": winner if kept else None})
    return y.to(x.dtype), winner


def backward(
    dy: Tensor,
    x: Tensor | None,
    winner: Tensor,
    size_in: Sequence[int],
    reduce: str,
    need_x: bool,
    last: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """As :func:`.reference.backward`; ``last`` says whether channels come last in the gradient to x."""
    size_in, (n, c), axes = tuple(size_in), dy.shape[:2], dy.dim() - 2
    layout = channels_last(axes) if last else torch.contiguous_format
    grad = _dense(dy, layout)
    pixels = None if x is None else _dense(x, layout)
    dx = torch.empty((n, c, *size_in), dtype=torch.float32, memory_format=layout)
    slopes = torch.zeros(_items(dx, layout), axes, dtype=torch.float64)
    maps = {"x": pixels, "y": grad, "slopes": slopes, "dx": dx if need_x else None}
    if reduce == "max":
        maps["winner"] = winner.contiguous(memory_format=layout)
    _run(_gradients(reduce, size_in, tuple(dy.shape[2:])), reduce, layout, dx, grad, maps)
    spread = None if x is None else slopes.sum(0).to(torch.float32)
    return dx.to(dy.dtype) if need_x else None, spread


def _dense(x: Tensor, layout: torch.memory_format) -> Tensor:
    return x.to(torch.float32).contiguous(memory_format=layout)


def _is_as_it_is(x: Tensor, layout: torch.memory_format) -> bool:
    """Whether vectors of channels lie in memory as pool.c wants them."""
    return layout != torch.contiguous_format and x.shape[1] >= _LANES


def _items(results: Tensor, layout: torch.memory_format) -> int:
    """Into how many parts the work is cut, whatever the number of threads."""
    n, c, *size = results.shape
    return n * -(-math.prod(size) // _BLOCK) if _is_as_it_is(results, layout) else -(-n * c // _LANES)


def _run(
    table: _Table,
    reduce: str,
    layout: torch.memory_format,
    pixels: Tensor,
    cells: Tensor,
    maps: dict[str, Tensor | None],
) -> None:
    """Pool a map, or its gradient: ``pixels`` and ``cells`` are of the shapes of the maps before and behind.

    Raises:
        RuntimeError: if a map has no memory, because its storage was freed.
        MemoryError: if there is none left to work with.
    """
    axes = pixels.dim() - 2
    items = _items(pixels if "slopes" in maps else cells, layout)
    job = _Job(
        planes=pixels.shape[0] * pixels.shape[1],
        channels=pixels.shape[1],
        pixels=math.prod(pixels.shape[2:]),
        cells=math.prod(cells.shape[2:]),
        queries=1 if reduce == "sample" else 2**axes,
        mean=reduce == "mean",
        axes=axes,
        channels_last=layout != torch.contiguous_format,
        as_is=_is_as_it_is(pixels, layout),
        items=items,
        threads=torch.get_num_threads() if _parallel() and pixels.numel() + cells.numel() > _ALONE else 1,
        parallel=_parallel(),
        **{name: _address(getattr(table, name)) for name in _Job._tables},
        **{name: _address(values) for name, values in maps.items()},
    )
    library = cast(ctypes.CDLL, build.library())  # or handles() had said no
    if library.dynpool_run(ctypes.byref(job)):
        raise MemoryError(f"no memory to pool maps of {tuple(pixels.shape[2:])} pixels")


@lru_cache(maxsize=1)
def _parallel() -> int | None:
    """The address of a function of GNU OpenMP, whose threads PyTorch keeps: others would have to wait for these, which
    stay busy for a while after each of PyTorch's operators. None where PyTorch has other threads.
    """
    function = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def _address(values: Tensor | None) -> int | None:
    address = None if values is None else values.data_ptr()
    if address == 0:
        raise RuntimeError("a map that is to be pooled, or was, has no memory: its storage has been freed")
    return address


# ------------------------------------------------------------------------------------------------------------ tables


@lru_cache(maxsize=32)
def _values(reduce: str, size_in: tuple[int, ...], size: tuple[int, ...]) -> _Table:
    """The pixels of each query, those of a cell one after the other."""
    sums = cpu_sums.value_map(reduce, size_in, size)
    return _Table(sums.offsets.to(torch.int32), sums.index.to(torch.int32), None, sums.weight)


@lru_cache(maxsize=32)
def _gradients(reduce: str, size_in: tuple[int, ...], size: tuple[int, ...]) -> _Table:
    """The queries of each pixel, first those that the gradient to x needs."""
    axes, parts = len(size), 2 if reduce == "max" else 1
    # dimensions: the pixels of every axis, then the taps of every axis
    cell, query = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64)
    weights = [torch.ones((), dtype=torch.float64)] * (1 + axes)
    for axis, (pixels, cells) in enumerate(zip(size_in, size, strict=True)):
        place, value, surrogate, slope = _transposed(reduce, pixels, cells)
        shape = [1] * 2 * axes
        shape[axis::axes] = place.shape
        cell = cell * cells + (place // parts).view(shape)
        query = query * parts + (place % parts).view(shape)
        factors = [value, *(slope if k == axis else surrogate for k in range(axes))]
        weights = [weight * factor.view(shape) for weight, factor in zip(weights, factors, strict=True)]
    weight = torch.stack(weights, -1).flatten(0, axes - 1).flatten(1, axes)  # (pixels, taps, columns)
    needed = weight[..., 0] != 0
    taken = torch.stack([needed, (weight != 0).any(-1) & ~needed], 1)  # (pixels, needed for x or not, taps)
    start = torch.nn.functional.pad(taken.sum(-1).flatten().cumsum(0), (1, 0))
    row, _, tap = taken.nonzero(as_tuple=True)
    index, query = (values.expand(*size_in, *[-1] * axes).reshape(needed.shape)[row, tap] for values in (cell, query))
    integers = [values.to(torch.int32) for values in (start, index, query)]
    return _Table(integers[0], integers[1], integers[2], weight[row, tap].to(torch.float32))


def _transposed(reduce: str, pixels: int, cells: int) -> tuple[Tensor, ...]:
    """Along an axis, for each pixel: the queries or cells that depend on it, in order, and its weights in them, of
    value, surrogate and slope; each (pixels, taps), with zeros at the end.
    """
    kinds: dict[str, tuple[Kind, ...]] = {
        "max": ("query", "query", "slope"),
        "mean": ("mean", "mean", "mean slope"),
        "sample": ("sample", "mean", "mean slope"),
    }
    maps = [transpose(map_rows(kind, pixels, cells), pixels) for kind in kinds[reduce]]
    places = [sorted(set().union(*rows)) for rows in zip(*maps, strict=True)]
    taps = max(1, *map(len, places))
    filled = [[*row, *[0] * (taps - len(row))] for row in places]
    weights = [
        [[row.get(place, 0.0) for place in at] + [0.0] * (taps - len(at)) for row, at in zip(rows, places, strict=True)]
        for rows in maps
    ]
    return torch.tensor(filled), *(torch.tensor(each, dtype=torch.float64) for each in weights)
