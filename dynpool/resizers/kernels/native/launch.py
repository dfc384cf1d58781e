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
from . import build

__all__ = ["backward", "forward", "handles"]

_LANES, _BLOCK = 16, 64  # what pool.c takes at a time: planes, or cells or pixels of a sample
_SHARE = 2**17  # pixels and cells that are worth the start of a thread: 40 microseconds of work or more
_MAX_TAPS = 2**21  # of one map: tables of 50 MB


class _Job(ctypes.Structure):
    """As in pool.c."""

    _shapes = ("planes", "channels", "pixels", "cells", "queries", "mean", "axes", "channels_last")
    _work = ("as_is", "items", "threads")
    _tables = ("start", "index", "query", "weight")
    _maps = ("x", "y", "dx", "winner", "slopes")
    _fields_ = (
        *((name, ctypes.c_long) for name in (*_shapes, *_work)),
        *((name, ctypes.c_void_p) for name in (*_tables, *_maps)),
    )


@dataclass(frozen=True)
class _Table:
    """Taps of all rows, one after the other: see pool.c."""

    start: Tensor
    index: Tensor
    query: Tensor
    weight: Tensor


def handles(x: Tensor, size: Sequence[int]) -> bool:
    """Whether this implementation can resize x to ``size`` in pixels, and its backward.

    It handles tensors on a CPU, except float64 and maps with very large tables, where there is a C compiler.
    """
    queries = 2 ** len(size)
    taps = queries * max(queries * math.prod(size), math.prod(x.shape[2:]))
    fits = x.device.type == "cpu" and x.dtype != torch.float64 and x.numel() > 0 and taps <= _MAX_TAPS
    return fits and build.library() is not None


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
    wide: Tensor,
    small: Tensor,
    maps: dict[str, Tensor | None],
) -> None:
    """Pool a map, or its gradient: ``wide`` is of the pixels' shape and ``small`` of that of the cells."""
    axes = wide.dim() - 2
    items = _items(wide if "slopes" in maps else small, layout)
    job = _Job(
        planes=wide.shape[0] * wide.shape[1],
        channels=wide.shape[1],
        pixels=math.prod(wide.shape[2:]),
        cells=math.prod(small.shape[2:]),
        queries=1 if reduce == "sample" else 2**axes,
        mean=reduce == "mean",
        axes=axes,
        channels_last=layout != torch.contiguous_format,
        as_is=_is_as_it_is(wide, layout),
        items=items,
        threads=min(torch.get_num_threads(), 1 + (wide.numel() + small.numel()) // _SHARE),
        **{name: getattr(table, name).data_ptr() for name in _Job._tables},
        **{name: None if values is None else values.data_ptr() for name, values in maps.items()},
    )
    library = cast(ctypes.CDLL, build.library())  # or handles() had said no
    if library.dynpool_run(ctypes.byref(job)):
        raise MemoryError(f"no memory to pool maps of {tuple(wide.shape[2:])} pixels")


# ------------------------------------------------------------------------------------------------------------ tables


@lru_cache(maxsize=32)
def _values(reduce: str, size_in: tuple[int, ...], size: tuple[int, ...]) -> _Table:
    """The pixels of each query, those of a cell one after the other."""
    with torch.inference_mode(False):
        sums = cpu_sums.value_map(reduce, size_in, size)
        index = sums.index.to(torch.int32)
        return _Table(sums.offsets.to(torch.int32), index, index, sums.weight)


@lru_cache(maxsize=32)
def _gradients(reduce: str, size_in: tuple[int, ...], size: tuple[int, ...]) -> _Table:
    """The queries of each pixel, first those that the gradient to x needs."""
    with torch.inference_mode(False):
        maps = cpu_sums.gradient_maps(reduce, size_in, size)
        queries = 2 ** len(size) if reduce == "max" else 1
        rows = math.prod(size_in)
        count = queries * math.prod(size)
        keys = []  # of each tap: the pixel, and the query that it is in
        for sums in maps:
            pixel = torch.repeat_interleave(torch.arange(rows), sums.offsets.diff())
            keys.append(pixel * count + sums.index)
        taps = torch.unique(torch.cat(keys))
        weight = torch.zeros(len(taps), len(maps))
        for column, (sums, key) in enumerate(zip(maps, keys, strict=True)):
            weight[torch.searchsorted(taps, key), column] = sums.weight
        part = taps // count * 2 + (weight[:, 0] == 0)
        order = torch.argsort(part, stable=True)
        start = torch.searchsorted(part[order], torch.arange(2 * rows + 1)).to(torch.int32)
        read = (taps[order] % count).to(torch.int32)
        return _Table(start, read // queries, read % queries, weight[order])
