"""The operator's "max" on a CPU where both sizes are halved: ``max_pool2d(x, 2)``, in float16, bfloat16 or float32.

Each query then is a pixel. PyTorch's own pooling is fast for channels_last maps, and :func:`pool` uses it for them. Its
kernel for contiguous maps is many times slower than memory, and so are comparisons to booleans and ``where``: here the
four pixels of all cells are set apart and compared as vectors.

The gradient to x is dy at the winning pixels and zero elsewhere. So the derivative to the queries' distance from their
cell centre is the inner product of that gradient with the slope of x at each pixel, the mean of the two one-sided
ones, counted outwards: negative in a cell's first pixel, positive in its second.

Maps are processed in blocks that stay in the cache, and all blocks share one scratch memory: getting new pages from the
system would cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from .layout import planes_in_cache

__all__ = ["backward", "choose", "forward", "handles", "pool"]

_WINDOW = ([2, 2], [2, 2], [0, 0], [1, 1], False)  # kernel, stride, padding, dilation, ceil_mode


def handles(size_in: tuple[int, ...], size: tuple[int, ...], reduce: str) -> bool:
    """Whether the queries of "max" are the pixels of a map of two axes."""
    return reduce == "max" and len(size) == 2 and size_in == (2 * size[0], 2 * size[1])


def forward(x: Tensor, y: Tensor, winner: Tensor | None) -> None:
    """Write the largest of each cell's pixels and, where asked for, which it is: the first of equals.

    If a pixel is NaN, so is the largest, but the winner may be another pixel.

    Args:
        x: (N, C, 2 * H_out, 2 * W_out).
        y: (N, C, H_out, W_out) in the dtype of x, contiguous.
        winner: as y, uint8: query 2 * a + b, row a and column b of its cell.
    """
    scratch = None
    for pixels, best, won in _blocks(x.shape[2:], x, y, winner):
        planes, height, width = best.shape
        apart = pixels.view(planes, height, 2, width, 2).permute(2, 4, 0, 1, 3)
        scratch = torch.empty(apart.shape, dtype=x.dtype) if scratch is None else scratch
        (a, b), (c, d) = scratch[:, :, :planes].copy_(apart)
        torch.maximum(a, b, out=best)
        b.gt_(a)  # whether the right one is larger: in the upper row
        torch.maximum(c, d, out=a)
        d.gt_(c)  # and in the lower
        torch.gt(a, best, out=c)  # whether the lower row has the larger one
        torch.maximum(best, a, out=best)
        if won is not None:
            won.copy_(d.sub_(b).add_(2).mul_(c).add_(b))


def backward(dy: Tensor, x: Tensor | None, winner: Tensor, dx: Tensor) -> list[list[float]]:
    """Write the gradient to x; return the derivative along rows and columns to the distance of each block.

    Args:
        dy: (N, C, H_out, W_out).
        x: (N, C, 2 * H_out, 2 * W_out) as it was pooled; None: no derivative is wanted.
        winner: as :func:`forward` wrote it.
        dx: as x, in the dtype of dy, contiguous or channels_last.
    """
    last = not dx.is_contiguous()
    scatter = _scatter_channels_last if last else _scatter
    scratch, spreads = None, []
    for grad, won, pixels, grad_x in _blocks(dx.shape[2:], dy, winner, x, dx, last=last):
        scratch = torch.empty(2 * won.numel(), dtype=torch.int64) if scratch is None else scratch
        scatter(grad, won, grad_x, scratch[: 2 * won.numel()])
        if pixels is not None:
            values, grad_x = pixels.to(torch.float32), grad_x.to(torch.float32)
            slope = scratch.view(torch.float32)[: values.numel()].view(values.shape)
            spreads.append([_outwards(values, grad_x, slope, axis) for axis in (1, 2)])
    return spreads


def _scatter(grad: Tensor, won: Tensor, dx: Tensor, scratch: Tensor) -> None:
    """Write the gradient to the pixels (planes, H, W) from that to their cells and the cells' winners."""
    index, query = scratch.view(2, *won.shape)
    torch.add(query.copy_(won), _corners(*dx.shape[1:]).view(won.shape[1:]), out=index)
    index.add_(query.bitwise_right_shift_(1), alpha=dx.shape[2] - 2)
    torch.ops.aten.max_pool2d_with_indices_backward.grad_input(grad, dx, *_WINDOW, index, grad_input=dx)


def _scatter_channels_last(grad: Tensor, won: Tensor, dx: Tensor, scratch: Tensor) -> None:
    """The same for (samples, H, W, C)."""
    cells = (-1, *won.shape[2:])
    query = scratch.view(grad.dtype)[: won.numel()].view(cells).copy_(won.view(cells))
    grad, rows = grad.view(cells), dx.view(len(query), 2, won.shape[2], 2, won.shape[3])
    for k in range(4):
        choose(grad, query, k, out=rows[:, k // 2, :, k % 2])


def choose(grad: Tensor, winner: Tensor, query: int, *, out: Tensor) -> None:
    """Write the gradient where this query has won, zero elsewhere.

    The fastest choice that PyTorch has, many times as fast as ``where``: by whether a second tensor of the same dtype
    lies between two numbers. An infinite or NaN gradient stays where it belongs.
    """
    torch.ops.aten.hardtanh_backward.grad_input(grad, winner, query - 0.5, query + 0.5, grad_input=out)


def pool(x: Tensor, y: Tensor, winner: Tensor | None) -> None:
    """As :func:`forward` for channels_last maps, where PyTorch's own kernel is fast; the winner is right for NaN too.

    W is no multiple of 256.
    """
    height, width = x.shape[2:]
    corner = _corners(height, width).to(torch.uint8).view(height // 2, width // 2, 1)
    for pixels, best, won in _blocks((height, width), x, y, winner, last=True):
        out = torch.empty(best.shape, dtype=torch.int64)
        images, cells, index = (block.permute(0, 3, 1, 2) for block in (pixels, best, out))
        torch.ops.aten.max_pool2d_with_indices.out(images, *_WINDOW, out=cells, indices=index)
        if won is not None:  # from the lowest byte of the index: 0, 1, W or W + 1 behind the corner, W even
            won.copy_(out).sub_(corner)
            column = won & 1
            won.clamp_max_(2).bitwise_or_(column)


@lru_cache(maxsize=32)
def _corners(height: int, width: int) -> Tensor:
    """Index of each cell's first pixel, (cells, 1)."""
    with torch.inference_mode(False):
        return (torch.arange(0, height, 2)[:, None] * width + torch.arange(0, width, 2)).view(-1, 1)


def _blocks(size_in: Sequence[int], *maps: Tensor | None, last: bool = False) -> Iterator[tuple[Any, ...]]:
    """Blocks (planes, H, W) of all maps in step, of channels_last (samples, H, W, C); None for a map that is None."""
    count = planes_in_cache((size_in[0], size_in[1]))
    return zip_longest(*(() if each is None else _cut(each, count, last) for each in maps))


def _cut(maps: Tensor, planes: int, last: bool) -> Sequence[Tensor]:
    if not last:
        return maps.contiguous().flatten(0, 1).split(planes)
    maps = maps.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    count = max(1, 2 * planes // maps.shape[3])  # few: they are fast enough for the time of a call to matter
    return (maps,) if len(maps) <= count else maps.split(count)


def _outwards(x: Tensor, grad: Tensor, slope: Tensor, axis: int) -> float:
    """Inner product of grad with the slope of x along an axis, outwards from the centre of each pair of pixels."""
    last = x.shape[axis] - 1
    torch.sub(x.narrow(axis, 2, last - 1), x.narrow(axis, 0, last - 1), out=slope.narrow(axis, 1, last - 1))
    for edge, inside, outside in ((0, 0, 1), (last, last - 1, last)):
        torch.sub(x.select(axis, outside), x.select(axis, inside), out=slope.select(axis, edge))
    second = slope.mul_(grad).unflatten(axis, (-1, 2)).select(axis + 1, 1)
    return float(second.sum()) - float(slope.sum()) / 2
