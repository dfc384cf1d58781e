"""The self-test of dynpool doctor: the operator beside a composition of PyTorch's own functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import dynpool

__all__ = ["Check", "self_test"]

Reduce = Literal["max", "mean"]

# The largest relative error that is allowed: results are sums over a few dozen rounded terms, computed in float32.
TOLERANCES = {torch.float64: 1e-7, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.2e-2}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# (H, W) and alpha: fractions, exact halves, which have a kernel of their own, and a larger map
CASES = (((17, 23), (1.7, 2.3)), ((16, 24), (2.0, 2.0)), ((13, 9), (0.8, 1.0)))
TIE = 1e-3  # of two queries, where pixels are about 1
KINK = 1e-9  # relative: one-sided derivatives are taken this far beside a query that lies on a pixel
ERRORS = (RuntimeError, OSError, ImportError, TypeError, ValueError)


@dataclass(frozen=True)
class Check:
    """One kind of map on one device: the largest relative errors over all sizes and reductions.

    Attributes:
        device: "cpu" or "cuda:0".
        dtype: such as "float32".
        layout: "contiguous" or "channels_last".
        output: of the pooled map; None if there was an error.
        gradient: of the gradient to the map.
        alpha_gradient: of the gradient to alpha.
        tolerance: what is allowed of the three.
        error: what was raised, in one line; empty if nothing.
    """

    device: str
    dtype: str
    layout: str
    output: float | None
    gradient: float | None
    alpha_gradient: float | None
    tolerance: float
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether all three are there and small."""
        found = (self.output, self.gradient, self.alpha_gradient)
        return all(value is not None and value <= self.tolerance for value in found)

    def to_dict(self) -> dict[str, Any]:
        """The check as plain data."""
        return {**asdict(self), "passed": self.passed}


def self_test(devices: list[torch.device]) -> Iterator[Check]:
    """A check for each device, dtype and layout that the operator has a kernel for.

    Args:
        devices: a CPU and GPUs.
    """
    for device in devices:
        for dtype, tolerance in TOLERANCES.items():
            for layout in LAYOUTS:
                where = (str(device), str(dtype).removeprefix("torch."), layout)
                try:
                    errors = _largest_errors(device, dtype, LAYOUTS[layout])
                except ERRORS as error:
                    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
                    yield Check(*where, None, None, None, tolerance, said)
                else:
                    yield Check(*where, *errors, tolerance)


def _largest_errors(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> tuple[float, float, float]:
    """The largest relative errors of the map and of both gradients."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for (height, width), strides in CASES:
        x = torch.randn((2, 5, height, width), generator=generator).to(dtype)
        alpha = torch.tensor(strides, dtype=torch.promote_types(dtype, torch.float32))
        for reduce in ("max", "mean"):
            *expected, weights = _composition(x, alpha, reduce, generator)
            ours = x.to(device, memory_format=layout).requires_grad_()
            own_alpha = alpha.to(device).requires_grad_()
            y = dynpool.dynopool2d(ours, own_alpha, reduce=reduce)
            gradients = torch.autograd.grad(y, (ours, own_alpha), weights.to(y))
            found.append([_error(a, b) for a, b in zip((y, *gradients), expected, strict=True)])
    output, gradient, alpha_gradient = (max(errors) for errors in zip(*found, strict=True))
    return output, gradient, alpha_gradient


def _error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value; infinite if a value is not finite."""
    found = found.detach().cpu().double()
    if found.shape != expected.shape or not found.isfinite().all():
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())


def _composition(
    x: Tensor, alpha: Tensor, reduce: Reduce, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """In float64: the pooled map, its gradients to x and alpha by autograd, and the weights of the sum differentiated.

    Equations 1 to 4 of the paper, written with `grid_sample` and pooling. Where a query lies on a pixel, the derivative
    to its position is the mean of the two one-sided ones. Cells in which the two largest queries nearly tie have
    weight 0: rounding decides which of them gets the gradient.
    """
    dtype, x, alpha = x.dtype, x.double().requires_grad_(), alpha.double().requires_grad_()
    queries = _queries(x, alpha, 0.0)
    y = _reduced(queries, reduce)
    best, second = _cells(queries.detach()).topk(2, dim=-1).values.unbind(-1)
    weights = torch.randn(y.shape, generator=generator).to(dtype).double() * (best - second > TIE)
    (dx,) = torch.autograd.grad(y, x, weights)
    sides = [
        torch.autograd.grad(_reduced(_queries(x, alpha, side), reduce), alpha, weights)[0] for side in (-KINK, KINK)
    ]
    return y.detach(), dx, (sides[0] + sides[1]) / 2, weights


def _queries(x: Tensor, alpha: Tensor, side: float) -> Tensor:
    """The bilinear values at the queries of all cells, (N, C, 2 * H_out, 2 * W_out)."""
    axes = []
    for pixels, stride in zip(x.shape[2:], alpha, strict=True):
        exact = pixels / stride
        cells = exact + (exact.clamp(min=1.5).round() - exact).detach()  # rounded, with the gradient of the identity
        count = int(cells)
        centres = (torch.arange(count, dtype=x.dtype) + 0.5) * (pixels / count)
        distance = pixels / (4 * cells) * (1 + side)
        axes.append(torch.stack([centres - distance, centres + distance], 1).flatten() * (2 / pixels) - 1)
    rows, columns = axes
    shape = (len(rows), len(columns))
    grid = torch.stack([columns.expand(shape), rows.unsqueeze(1).expand(shape)], dim=-1)
    return F.grid_sample(
        x, grid.expand(x.shape[0], -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
    )


def _reduced(queries: Tensor, reduce: Reduce) -> Tensor:
    return F.max_pool2d(queries, 2) if reduce == "max" else F.avg_pool2d(queries, 2)


def _cells(queries: Tensor) -> Tensor:
    """The four queries of each cell, (N, C, H_out, W_out, 4)."""
    return queries.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
