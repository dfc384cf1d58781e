"""The backward pass of "max" on a CPU where both sizes are halved, so that it is that of ``max_pool2d(x, 2)``.

Each query then is a pixel, and the gradient to x is dy at the winning pixels and zero elsewhere. So the derivative to
the queries' distance from their cell centre is the inner product of that gradient with the slope of x at each pixel,
the mean of the two one-sided ones, counted outwards: negative in a cell's first pixel, positive in its second.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backward", "handles"]


def handles(size_in: tuple[int, int], size: tuple[int, int], reduce: str) -> bool:
    """Whether the queries of "max" are the pixels."""
    return reduce == "max" and size_in == (2 * size[0], 2 * size[1])


def backward(dy: Tensor, x: Tensor | None, winner: Tensor, dx: Tensor) -> Tensor | None:
    """Write the gradient to x into dx; return the derivative along rows and columns to the distance: (2,), float32.

    Args:
        dy: gradient of planes (P, H_out, W_out), contiguous.
        x: the planes (P, 2 * H_out, 2 * W_out) they were pooled from; None: no derivative is wanted.
        winner: query 2 * a + b, row a and column b of its cell, that won each cell; uint8, as dy.
        dx: contiguous planes of the shape of x, in the dtype of dy.
    """
    _, height, width = dx.shape
    corner = torch.arange(0, height, 2)[:, None] * width + torch.arange(0, width, 2)
    query = winner.to(torch.int64)
    index = (query + corner).add_(query >> 1, alpha=width - 2)
    window = ([2, 2], [2, 2], [0, 0], [1, 1], False)
    torch.ops.aten.max_pool2d_with_indices_backward.grad_input(dy, dx, *window, index, grad_input=dx)
    if x is None:
        return None
    x, grad = x.to(torch.float32), dx.to(torch.float32)
    return torch.stack([_outwards(x, grad, 1), _outwards(x, grad, 2)])


def _outwards(x: Tensor, grad: Tensor, axis: int) -> Tensor:
    """Inner product of grad with the slope of x along an axis, outwards from the centre of each pair of pixels."""
    last = x.shape[axis] - 1
    others = (0, 3 - axis)
    inner = ((x.narrow(axis, 2, last - 1) - x.narrow(axis, 0, last - 1)) * grad.narrow(axis, 1, last - 1)).sum(others)
    first = ((x.select(axis, 1) - x.select(axis, 0)) * grad.select(axis, 0)).sum()
    final = ((x.select(axis, last) - x.select(axis, last - 1)) * grad.select(axis, last)).sum()
    return (inner[::2].sum() - inner[1::2].sum() - first + final) / 2
