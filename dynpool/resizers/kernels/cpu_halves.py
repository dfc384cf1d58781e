"""The operator's "max" on a CPU where both sizes are halved: ``max_pool2d(x, 2)``, in float16, bfloat16 or float32.

Each query then is a pixel. PyTorch's own pooling is fast for channels_last maps, and used for them: :func:`pool` and
:func:`scatter`. Its forward kernel for contiguous maps is many times slower than memory, and so are comparisons to
booleans and ``where``: here the four pixels of all cells are set apart and compared as vectors.

The gradient to x is dy at the winning pixels and zero elsewhere. So the derivative to the queries' distance from their
cell centre is the inner product of that gradient with the slope of x at each pixel, the mean of the two one-sided
ones, counted outwards: negative in a cell's first pixel, positive in its second.

Contiguous maps are processed in blocks that stay in the cache, and all blocks share one scratch memory: getting new
pages from the system would cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from .layout import planes_in_cache

__all__ = ["backward", "forward", "handles", "pool", "scatter"]

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


def backward(dy: Tensor, x: Tensor | None, winner: Tensor, dx: Tensor) -> list[Tensor]:
    """Write the gradient to x; return the derivative along rows and columns to the distance, (2,), of each block.

    Args:
        dy: (N, C, H_out, W_out).
        x: (N, C, 2 * H_out, 2 * W_out) as it was pooled; None: no derivative is wanted.
        winner: as :func:`forward` wrote it.
        dx: as x, in the dtype of dy, contiguous.
    """
    height, width = dx.shape[2:]
    corner = _corners(height, width).view(height // 2, width // 2)
    scratch, spreads = None, []
    for grad, won, pixels, grad_x in _blocks((height, width), dy, winner, x, dx):
        scratch = torch.empty(2, *won.shape, dtype=torch.int64) if scratch is None else scratch
        index, query = scratch[:, : len(won)]
        torch.add(query.copy_(won), corner, out=index)
        index.add_(query.bitwise_right_shift_(1), alpha=width - 2)
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(grad, grad_x, *_WINDOW, index, grad_input=grad_x)
        if pixels is not None:
            values, grad_x = pixels.to(torch.float32), grad_x.to(torch.float32)
            slope = scratch.view(-1).view(torch.float32)[: values.numel()].view(values.shape)
            spreads.append(torch.stack([_outwards(values, grad_x, slope, axis) for axis in (1, 2)]))
    return spreads


def pool(pixels: Tensor, cells: Tensor, winner: Tensor | None, size_in: tuple[int, int]) -> None:
    """Forward for tables of whole channels_last samples, where PyTorch's own kernel is fast, NaN included.

    Args:
        pixels: (samples * H * W, C).
        cells: (samples * H_out * W_out, C), to be written.
        winner: as cells, uint8, to be written; or None.
        size_in: (H, W); W is no multiple of 256.
    """
    width = size_in[1]
    images, best = _images(pixels, *size_in), _images(cells, size_in[0] // 2, width // 2)
    index = torch.empty(cells.shape, dtype=torch.int64)
    indices = _images(index, size_in[0] // 2, width // 2)
    torch.ops.aten.max_pool2d_with_indices.out(images, *_WINDOW, out=best, indices=indices)
    if winner is not None:  # from the lowest byte of the index
        step = winner.copy_(index).view(len(images), -1, winner.shape[1])
        step.sub_(_corners(*size_in).to(torch.uint8))  # 0, 1, W or W + 1
        step.add_(torch.gt(step, 1, out=torch.empty_like(step)), alpha=(2 - width) % 256)


def scatter(cells: Tensor, winner: Tensor, pixels: Tensor, size_in: tuple[int, int]) -> None:
    """Write the gradient to x, for tables of whole channels_last samples.

    Args:
        cells: the gradient to the output, (samples * H_out * W_out, C).
        winner: as cells, uint8.
        pixels: (samples * H * W, C), to be written.
        size_in: (H, W).
    """
    images = _images(pixels, *size_in)
    step = winner.to(torch.int32)
    step.add_(step >> 1, alpha=size_in[1] - 2)  # 0, 1, W or W + 1
    index = step.to(torch.int64).view(len(images), -1, winner.shape[1]).add_(_corners(*size_in)).view(winner.shape)
    grad, index = (_images(table, size_in[0] // 2, size_in[1] // 2) for table in (cells, index))
    torch.ops.aten.max_pool2d_with_indices_backward.grad_input(grad, images, *_WINDOW, index, grad_input=images)


@lru_cache(maxsize=32)
def _corners(height: int, width: int) -> Tensor:
    """Index of each cell's first pixel, (cells, 1)."""
    with torch.inference_mode(False):
        return (torch.arange(0, height, 2)[:, None] * width + torch.arange(0, width, 2)).view(-1, 1)


def _images(table: Tensor, height: int, width: int) -> Tensor:
    """The samples of a channels_last table as PyTorch's pooling takes them."""
    return table.view(-1, height, width, table.shape[1]).permute(0, 3, 1, 2)


def _blocks(size_in: Sequence[int], *maps: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Blocks (planes, H, W) of all maps in step; None for a map that is None."""
    planes = planes_in_cache((size_in[0], size_in[1]))
    flat = (() if given is None else given.contiguous().flatten(0, 1).split(planes) for given in maps)
    return zip_longest(*flat)


def _outwards(x: Tensor, grad: Tensor, slope: Tensor, axis: int) -> Tensor:
    """Inner product of grad with the slope of x along an axis, outwards from the centre of each pair of pixels."""
    last = x.shape[axis] - 1
    torch.sub(x.narrow(axis, 2, last - 1), x.narrow(axis, 0, last - 1), out=slope.narrow(axis, 1, last - 1))
    for edge, inside, outside in ((0, 0, 1), (last, last - 1, last)):
        torch.sub(x.select(axis, outside), x.select(axis, inside), out=slope.select(axis, edge))
    second = slope.mul_(grad).unflatten(axis, (-1, 2)).select(axis + 1, 1)
    return second.sum() - slope.sum() / 2
