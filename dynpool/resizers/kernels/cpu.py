"""DynOPool on a CPU without a C compiler, in float32 (float16 and bfloat16 are computed in it).

Every map of :mod:`.reference` is a weighted sum of a few pixels, the same for all channels. That is what
``torch.embedding_bag`` computes at the speed of memory, on a table with a row for each pixel and a column for each
channel: channels_last memory as it is. So one pass over the pixels gives the queries, and one over the winners'
gradients gives the gradient to x and both derivatives that the gradient to alpha needs.

The work is cut so that what is computed on the way stays in the cache, with rows as wide as possible. A channels_last
map is cut into groups of samples, and a large sample into strips of its rows; a contiguous map is cut into groups of
planes, each of which is transposed. Every sum has its fixed order, so results are bitwise reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from . import cpu_sums
from .layout import channels_last, memory_format, planes_in_cache

__all__ = ["backward", "forward", "handles"]

_MIN_WIDTH = 16  # narrower rows of channels cost more to address than to add: there, samples are put side by side

handles = cpu_sums.fits


# ------------------------------------------------------------------------------------------------------------ groups


@dataclass(frozen=True)
class _Groups:
    """How maps (N, C, ...) of one network layer are cut into tables (copies * pixels, width)."""

    memory_format: torch.memory_format
    copies: int  # samples of a table, below one another
    width: int  # planes of a table, side by side
    strips: int  # of a sample

    @classmethod
    def of(cls, n: int, c: int, size: Sequence[int], resized: Sequence[int], last: bool) -> _Groups:
        """The groups for maps of ``size`` and for what they are resized to."""
        planes = planes_in_cache(size)
        if last and c >= _MIN_WIDTH:
            if 2 ** len(size) * math.prod(resized) <= 1.5 * math.prod(size):  # few queries, and calls cost time
                planes *= 2
            return cls(channels_last(len(size)), min(n, max(1, planes // c)), c, min(size[0], -(-c // planes)))
        return cls(torch.contiguous_format, 1, min(n * c, max(planes, _MIN_WIDTH)), 1)

    @property
    def contiguous(self) -> bool:
        return self.memory_format == torch.contiguous_format

    def tables(self, *maps: Tensor | None) -> Iterator[tuple[Any, ...]]:
        """Views of the tables of all maps in step, the last ones with fewer samples or planes; None for no values."""
        return zip_longest(*map(self._cut, maps))

    def _cut(self, maps: Tensor | None) -> Sequence[Tensor]:
        if maps is None or maps.numel() == 0:
            return ()
        n, c, *size = maps.shape
        maps = maps.contiguous(memory_format=self.memory_format)
        if not self.contiguous:
            table = maps.permute(0, *range(2, maps.dim()), 1).reshape(-1, c)
            return (table,) if n <= self.copies else table.split(self.copies * math.prod(size))
        return maps.view(n * c, math.prod(size)).t().split(self.width, dim=1)


def _table(block: Tensor) -> Tensor:
    """A block in rows that lie one after the other, in float32."""
    return block if _is_table(block) else _fill(torch.empty(block.shape, dtype=torch.float32), block)


def _fill(block: Tensor, values: Tensor) -> Tensor:
    """Copy into a block; the extra dimension keeps PyTorch from transposing matrices on a single thread."""
    if block.is_contiguous() and values.is_contiguous():
        return block.copy_(values)
    return block.unsqueeze(1).copy_(values.unsqueeze(1)).squeeze(1)


# ---------------------------------------------------------------------------------------------- forward and backward


def forward(x: Tensor, size: Sequence[int], reduce: str, *, keep_winner: bool = True) -> tuple[Tensor, Tensor]:
    """As :func:`.reference.forward`; without ``keep_winner`` the second result is empty for "max" as well."""
    size, size_in = tuple(size), tuple(x.shape[2:])
    n, c = x.shape[:2]
    groups = _Groups.of(n, c, size_in, size, memory_format(x) != torch.contiguous_format)
    y = torch.empty(n, c, *size, dtype=x.dtype, memory_format=groups.memory_format)
    keep_winner = keep_winner and reduce == "max"
    winner = torch.empty_like(y, dtype=torch.uint8) if keep_winner else y.new_empty(0, dtype=torch.uint8)
    for pixels, cells, won in groups.tables(x, y, winner):
        copies = len(pixels) // math.prod(size_in)
        for strip in cpu_sums.values(reduce, size_in, size, copies, groups.strips):
            best = cells[strip.rows]
            values = strip.sums[0](_table(pixels[strip.reads])).view(len(best), -1, best.shape[1])
            if not keep_winner:
                _fill(best, _largest(values) if reduce == "max" else _average(values))
                continue
            # each cell is an image of one row of its queries: max_pool2d settles ties and NaN, its index is the winner
            row = [1, values.shape[1]]
            window = (row, row, [0, 0], [1, 1], False)  # kernel, stride, padding, dilation, ceil_mode
            largest = best if _is_table(best) else torch.empty(best.shape, dtype=torch.float32)
            index = torch.empty(best.shape, dtype=torch.int64)
            out = {"out": _images(largest), "indices": _images(index)}
            torch.ops.aten.max_pool2d_with_indices.out(values[:, None].permute(0, 3, 1, 2), *window, **out)
            if largest is not best:
                _fill(best, largest)
            _fill(won[strip.rows], index)
    return y, winner


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
    size_in, size, (n, c) = tuple(size_in), tuple(dy.shape[2:]), dy.shape[:2]
    groups = _Groups.of(n, c, size_in, size, last)
    dx = torch.empty(n, c, *size_in, dtype=dy.dtype, memory_format=groups.memory_format) if need_x else None
    axes, spreads = len(size), []
    for cells, won, pixels, gradient in groups.tables(dy, winner, x, dx):
        copies = len(cells) // math.prod(size)
        strips = cpu_sums.gradients(
            reduce, size_in, size, copies, groups.strips, need_x=need_x, need_alpha=x is not None
        )
        for strip in strips:
            grad = _table(cells[strip.reads])
            if reduce == "max":
                grad = _to_queries(grad, _table(won[strip.reads]), 2**axes)
            if dx is not None:  # one map after the other, in the same memory
                _fill(gradient[strip.rows], strip.sums[0](grad))
            if x is not None:
                factor = _table(pixels[strip.rows]).view(-1)
                spreads.append([float(sums(grad).view(-1).mul_(factor).sum()) for sums in strip.sums[-axes:]])
    return dx, None if x is None else _added(spreads)


def _largest(values: Tensor) -> Tensor:
    """The largest query, (cells, queries, planes) -> (cells, planes): many times as fast as ``amax`` if narrow."""
    while values.shape[1] > 1:
        values = torch.maximum(*values.chunk(2, dim=1))
    return values[:, 0]


def _average(values: Tensor) -> Tensor:
    """The mean of the queries. PyTorch adds more than four in an order that depends on how wide the block is."""
    while values.shape[1] > 4:
        first, second = values.chunk(2, dim=1)
        values = (first + second) / 2
    return values.mean(1)


def _added(spreads: list[list[float]]) -> Tensor:
    """The sum over all strips or blocks, added up in float64."""
    return torch.tensor([sum(axis) for axis in zip(*spreads, strict=True)], dtype=torch.float32)


def _to_queries(grad: Tensor, winner: Tensor, count: int) -> Tensor:
    """Each cell's gradient at its winning query, zero at the others: (cells, planes) -> (count * cells, planes), the
    first queries of all cells before the second ones.
    """
    queries = torch.empty(count, *grad.shape, dtype=torch.float32)
    for k in range(count):
        # many times as fast as ``where``: a choice by whether another tensor of the same dtype is between two numbers
        torch.ops.aten.hardtanh_backward.grad_input(grad, winner, k - 0.5, k + 0.5, grad_input=queries[k])
    return queries.flatten(0, 1)


def _is_table(block: Tensor) -> bool:
    return block.dtype == torch.float32 and block.is_contiguous()


def _images(table: Tensor) -> Tensor:
    """Each row of a table as an image of one pixel, for PyTorch's pooling."""
    return table[:, None, None].permute(0, 3, 1, 2)
