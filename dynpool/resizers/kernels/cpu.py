"""DynOPool on a CPU, fast, in float32 (float16 and bfloat16 are computed in it).

Every map of :mod:`.reference` is a weighted sum of a few pixels, the same for all channels. That is what
``torch.embedding_bag`` computes at the speed of memory, on a table with a row for each pixel and a column for each
channel: channels_last memory as it is. So one pass over the pixels gives the queries, and one over the winners'
gradients gives the gradient to x and both derivatives that the gradient to alpha needs.

The work is cut into blocks that stay in the cache, with rows as wide as possible: a block is a few whole samples of
a channels_last map, or as many planes of a contiguous one, which is transposed block by block. Every sum has its
fixed order, so results are bitwise reproducible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor

from . import cpu_halves as halves
from .layout import memory_format, planes_in_cache
from .reference import Kind, Row, map_rows, transpose

__all__ = ["backward", "forward", "handles"]

_MIN_WIDTH = 16  # narrower rows of channels cost more to address than to add: there, samples are put side by side
_WINDOW = ([1, 4], [1, 4], [0, 0], [1, 1], False)  # of a cell's queries: kernel, stride, padding, dilation, ceil_mode
_MAX_TAPS = 2**21  # of one map: tables of 16 MB


def handles(x: Tensor, size: tuple[int, int]) -> bool:
    """Whether this implementation can resize x (N, C, H, W) to ``size`` (height, width) in pixels, and its backward.

    It handles tensors on a CPU, except float64 and maps with very large tables.
    """
    height, width = x.shape[2:]
    taps = 4 * max(4 * size[0] * size[1], height * width)
    return x.device.type == "cpu" and x.dtype != torch.float64 and x.numel() > 0 and taps <= _MAX_TAPS


# --------------------------------------------------------------------------------------------------- sums over rows


@dataclass(frozen=True)
class _Sums:
    """``out[i] = sum of weight[t] * table[index[t]] for t in [offsets[i], offsets[i + 1])``."""

    index: Tensor
    offsets: Tensor
    weight: Tensor

    def __call__(self, table: Tensor) -> Tensor:
        return torch.embedding_bag(table, self.index, self.offsets, False, 0, False, self.weight, True)[0]


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


def _product(height: _Axis, width: _Axis, copies: int, stride: int) -> _Sums:
    """The map of both axes, row cell by column cell and part by part, on ``copies`` tables of ``stride`` rows."""
    rows, columns = (slice(None), None, slice(None), None, slice(None), None), (None, slice(None)) * 3
    weight = height.weight[rows] * width.weight[columns]  # (rows, columns, row parts, column parts, taps, taps)
    index = (height.place[rows] + width.place[columns])[weight != 0]
    count = (weight != 0).sum((-2, -1)).flatten().repeat(copies)
    offsets = F.pad(count.cumsum(0), (1, 0))
    index = (index + stride * torch.arange(copies)[:, None]).flatten()
    weight = weight[weight != 0].to(torch.float32).repeat(copies)
    return _Sums(index.to(torch.int32), offsets.to(torch.int32), weight)


@lru_cache(maxsize=32)
def _values(reduce: str, height: int, width: int, out_h: int, out_w: int, copies: int) -> _Sums:
    """From the pixels of ``copies`` samples to queries, the four of a cell in a row, or to sampled points."""
    kind: Kind = "sample" if reduce == "sample" else "query"
    parts = 1 if reduce == "sample" else 2
    with torch.inference_mode(False):
        rows = _Axis.of(map_rows(kind, height, out_h), range(0, height * width, width), parts)
        columns = _Axis.of(map_rows(kind, width, out_w), range(width), parts)
        return _product(rows, columns, copies, height * width)


@lru_cache(maxsize=96)
def _gradient(reduce: str, height: int, width: int, out_h: int, out_w: int, copies: int, what: str) -> _Sums:
    """From queries or cells to pixels: the gradient to ``"x"``, or what x is multiplied with for alpha.

    ``what`` is "x", "rows" or "columns".
    """
    value: Kind = "query" if reduce == "max" else reduce  # type: ignore[assignment]
    surrogate: Kind = "query" if reduce == "max" else "mean"
    slope: Kind = "slope" if reduce == "max" else "mean slope"
    kind_h, kind_w = {"x": (value, value), "rows": (slope, surrogate), "columns": (surrogate, slope)}[what]
    parts = 2 if reduce == "max" else 1
    row_places = [parts * (parts * i * out_w + a) for i in range(out_h) for a in range(parts)]
    column_places = [parts * parts * k + b for k in range(out_w) for b in range(parts)]
    with torch.inference_mode(False):
        rows = _Axis.of(transpose(map_rows(kind_h, height, out_h), height), row_places)
        columns = _Axis.of(transpose(map_rows(kind_w, width, out_w), width), column_places)
        return _product(rows, columns, copies, parts * parts * out_h * out_w)


# ------------------------------------------------------------------------------------------------------------ blocks


@dataclass(frozen=True)
class _Blocks:
    """How maps (N, C, H, W) of one network layer are cut into tables (copies * pixels, width)."""

    memory_format: torch.memory_format
    copies: int  # samples of a table, below one another
    width: int  # planes of a table, side by side

    @classmethod
    def of(cls, n: int, c: int, size: tuple[int, int], channels_last: bool) -> _Blocks:
        """The blocks for maps of ``size`` and for what they are resized to."""
        planes = planes_in_cache(size)
        if channels_last and c >= _MIN_WIDTH:
            return cls(torch.channels_last, min(n, max(1, planes // c)), c)
        return cls(torch.contiguous_format, 1, min(n * c, max(planes, _MIN_WIDTH)))

    def cut(self, maps: Tensor | None) -> list[Tensor]:
        """Views of the tables; the last one may have fewer samples or planes. None where there are no values."""
        if maps is None or maps.numel() == 0:
            return []
        n, c, height, width = maps.shape
        maps = maps.contiguous(memory_format=self.memory_format)
        if self.memory_format == torch.channels_last:
            return [part.reshape(-1, c) for part in maps.permute(0, 2, 3, 1).split(self.copies)]
        return list(maps.view(n * c, height * width).t().split(self.width, dim=1))


def _table(block: Tensor) -> Tensor:
    """A block in rows that lie one after the other, in float32."""
    if block.dtype == torch.float32 and block.is_contiguous():
        return block
    return _fill(torch.empty(block.shape, dtype=torch.float32), block)


def _fill(block: Tensor, values: Tensor) -> Tensor:
    """Copy into a block; the extra dimension keeps PyTorch from transposing matrices on a single thread."""
    block.unsqueeze(1).copy_(values.unsqueeze(1))
    return block


# ---------------------------------------------------------------------------------------------- forward and backward


def forward(x: Tensor, size: tuple[int, int], reduce: str, *, keep_winner: bool = True) -> tuple[Tensor, Tensor]:
    """As :func:`.reference.forward`; without ``keep_winner`` the second result is empty for "max" as well."""
    n, c, height, width = x.shape
    blocks = _Blocks.of(n, c, (height, width), memory_format(x) == torch.channels_last)
    y = torch.empty(n, c, *size, dtype=x.dtype, memory_format=blocks.memory_format)
    keep_winner = keep_winner and reduce == "max"
    winner = torch.empty_like(y, dtype=torch.uint8) if keep_winner else y.new_empty(0, dtype=torch.uint8)
    if halves.handles((height, width), size, reduce):
        halves.forward(x, y, winner if keep_winner else None, blocks.memory_format)
        if not y.sum().isnan():
            return y, winner
    tables = zip_longest(blocks.cut(x), blocks.cut(y), blocks.cut(winner))
    for x_block, y_block, winner_block in tables:
        values = _values(reduce, height, width, *size, len(x_block) // (height * width))(_table(x_block))
        if reduce != "max":
            _fill(y_block, values.view(len(y_block), -1, values.shape[1]).mean(1))
            continue
        # each cell is an image of one row of four pixels: max_pool2d settles ties and NaN, and its index is the winner
        cells = values.view(len(y_block), 1, 4, -1).permute(0, 3, 1, 2)
        best, index = F.max_pool2d(cells, (1, 4), return_indices=True)
        _fill(y_block, best.view(y_block.shape))
        if keep_winner:
            _fill(winner_block, index.view(y_block.shape))
    return y, winner


def backward(
    dy: Tensor,
    x: Tensor | None,
    winner: Tensor,
    size_in: tuple[int, int],
    reduce: str,
    need_x: bool,
    channels_last: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """As :func:`.reference.backward`; ``channels_last`` is the layout of the gradient to x."""
    (n, c, *size), (height, width) = dy.shape, size_in
    blocks = _Blocks.of(n, c, size_in, channels_last)
    dx = torch.empty(n, c, height, width, dtype=dy.dtype, memory_format=blocks.memory_format) if need_x else None
    if dx is not None and halves.handles(size_in, (size[0], size[1]), reduce):
        spreads = halves.backward(dy, x, winner, dx, blocks.memory_format)
        return dx, None if x is None else _added(spreads)
    spreads = []
    tables = zip_longest(blocks.cut(dy), blocks.cut(winner), blocks.cut(x), blocks.cut(dx))
    for dy_block, winner_block, x_block, dx_block in tables:
        shape = (reduce, *size_in, *size, len(dy_block) // (size[0] * size[1]))
        grad = _table(dy_block)
        if reduce == "max":
            grad = _to_queries(grad, winner_block)
        if dx is not None:  # one map after the other, in the same memory
            _fill(dx_block, _gradient(*shape, "x")(grad))
        if x is not None:
            pixels = _table(x_block)
            sums = [_gradient(*shape, along)(grad).mul_(pixels).sum() for along in ("rows", "columns")]
            spreads.append(torch.stack(sums))
    return dx, None if x is None else _added(spreads)


def _added(spreads: list[Tensor]) -> Tensor:
    """The sum over all blocks, in float64 on the way."""
    return torch.stack(spreads).to(torch.float64).sum(0).to(torch.float32)


def _to_queries(grad: Tensor, winner: Tensor) -> Tensor:
    """Each cell's gradient at its winning query, zero at the other three: (cells, planes) -> (4 * cells, planes)."""
    shape = (len(grad), 1, 1, -1)
    queries = grad.new_empty(len(grad), 1, 4, grad.shape[1]).permute(0, 3, 1, 2)
    grad, index = (values.view(shape).permute(0, 3, 1, 2) for values in (grad, winner.to(torch.int64)))
    torch.ops.aten.max_pool2d_with_indices_backward.grad_input(grad, queries, *_WINDOW, index, grad_input=queries)
    return queries.permute(0, 2, 3, 1).view(-1, queries.shape[1])
