"""The operator and its competitors in the benchmarks, composed from PyTorch's own operators."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import dynpool

__all__ = ["COMPOSITIONS", "Composition", "dynopool", "grid_sample", "interpolate"]

Size = tuple[int, int]
Composition = Callable[[Tensor, Tensor, Size], Tensor]


def dynopool(x: Tensor, alpha: Tensor, size: Size) -> Tensor:
    """This library's operator, with its gradient to alpha."""
    return dynpool.dynopool2d(x, alpha, size=size)


def interpolate(x: Tensor, alpha: Tensor, size: Size) -> Tensor:
    """The same values and gradient to x; none to alpha."""
    queries = F.interpolate(x, (2 * size[0], 2 * size[1]), mode="bilinear", align_corners=False)
    return F.max_pool2d(queries, 2)


def grid_sample(x: Tensor, alpha: Tensor, size: Size) -> Tensor:
    """The same values and both gradients; where a query lies on a pixel, the gradient to alpha is one-sided.

    In float16 and bfloat16 the values differ too: grid_sample needs the positions in the dtype of x, where they are
    rounded to a fraction of a pixel that grows with the map.
    """
    axes = []
    for axis in (0, 1):
        pixels, cells = x.shape[2 + axis], size[axis]
        surrogate = pixels / alpha[axis].float()
        delta = pixels / (4 * (surrogate + (cells - surrogate).detach()))
        centre = (torch.arange(cells, device=x.device) + 0.5) * (pixels / cells) - 0.5
        positions = torch.stack([centre - delta, centre + delta], dim=1).flatten()
        axes.append((2 * positions + 1) / pixels - 1)
    grid = torch.stack(torch.broadcast_tensors(axes[1][None, :], axes[0][:, None]), dim=-1)
    grid = grid.to(x.dtype).expand(x.shape[0], -1, -1, -1)
    return F.max_pool2d(F.grid_sample(x, grid, padding_mode="border", align_corners=False), 2)


def max_pool(x: Tensor, alpha: Tensor, size: Size) -> Tensor:
    """nn.MaxPool2d(2), which is the operator at alpha = 2 on even sizes; no gradient to alpha."""
    return F.max_pool2d(x, 2)


def adaptive_max_pool(x: Tensor, alpha: Tensor, size: Size) -> Tensor:
    """nn.AdaptiveMaxPool2d to the same size. Other values unless the size divides the input; no gradient to alpha."""
    return F.adaptive_max_pool2d(x, size)


COMPOSITIONS: dict[str, Composition] = {
    "dynopool2d": dynopool,
    "interpolate + max_pool2d": interpolate,
    "grid_sample + max_pool2d": grid_sample,
    "max_pool2d": max_pool,
    "adaptive_max_pool2d": adaptive_max_pool,
}
