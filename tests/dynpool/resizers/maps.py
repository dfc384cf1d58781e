"""Random maps in all layouts, and the gradients of the operator."""

import math
from collections.abc import Callable, Sequence
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynpool.resizers.functional import Reduce, dynopool2d

REDUCTIONS: tuple[Reduce, ...] = get_args(Reduce)

every_reduction = pytest.mark.parametrize("reduce", REDUCTIONS)

Size = tuple[int, int]


def random_map(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradients(x: Tensor, alpha: Tensor, reduce: Reduce, size: Size | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The output and the gradients of a fixed weighted sum of it to x and alpha."""
    x, alpha = x.detach().requires_grad_(), alpha.detach().requires_grad_()
    y = dynopool2d(x, alpha, reduce=reduce, size=size)
    weights = random_map(*y.shape, dtype=y.dtype, seed=1)
    dx, dalpha = torch.autograd.grad(y, (x, alpha), weights)
    return y.detach(), dx, dalpha


def gradients_of(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, alpha: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The output of a function of x and alpha, and its gradients to both, for the gradient dy to the output."""
    x, alpha = x.detach().requires_grad_(), alpha.detach().requires_grad_()
    y = function(x, alpha)
    dx, dalpha = torch.autograd.grad(y, (x, alpha), dy)
    return y.detach(), dx, dalpha


def composition(x: Tensor, size: Sequence[int], reduce: str = "max") -> Tensor:
    """Interpolation of a sequence or volume to the grid of all queries, then pooling by two."""
    axes = len(size)
    mode = {1: "linear", 3: "trilinear"}[axes]
    queries = F.interpolate(x, [2 * n for n in size], mode=mode, align_corners=False)
    if reduce == "max":
        return F.max_pool1d(queries, 2) if axes == 1 else F.max_pool3d(queries, 2)
    for dim in range(2, 2 + axes):  # avg_pool3d does not exist in half precision
        queries = queries.unflatten(dim, (-1, 2))
        queries = queries.movedim(dim + 1, -1)
    return queries.flatten(2 + axes).mean(-1)


def laid_out(x: Tensor, layout: str) -> Tensor:
    """A tensor equal to x in another layout."""
    n, c, h, w = x.shape
    match layout:
        case "channels_last":
            return x.contiguous(memory_format=torch.channels_last)
        case "permuted":
            return x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
        case "sliced":
            wide = x.new_full((n + 1, c + 2, h + 3, 2 * w), math.nan)
            wide[1:, 1:-1, 2:-1, ::2] = x
            return wide[1:, 1:-1, 2:-1, ::2]
        case "sliced channels_last":
            wide = x.new_full((n, c, h + 1, w + 1), math.nan).contiguous(memory_format=torch.channels_last)
            wide[..., 1:, 1:] = x
            return wide[..., 1:, 1:]
    return x
