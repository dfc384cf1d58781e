"""The Gaussian mask of a FlexConv kernel, and the kernel that it leaves: where points lie, and which are kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynpool.size_math import Pair, Size

__all__ = ["ROUNDING", "THRESHOLD", "axis_points", "check_sigma", "gaussian", "live_radius", "sigma_for", "sigma_range"]

#: T_m of the paper: rows and columns of the kernel where the mask is lower are cropped.
THRESHOLD = 0.1

_LARGEST_SIGMA = 4.0  # exp(-1 / 32) = 0.97 at the edge of the largest kernel: wider masks are all alike
ROUNDING = 1e-4  # pixels; a radius this close below a whole number counts as that number


def axis_points(
    largest: int, radius: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Tensor:
    """The coordinates of the 2 * radius + 1 middle points of an axis of ``largest`` points from -1 to 1.

    >>> axis_points(9, 2)
    tensor([-0.5000, -0.2500,  0.0000,  0.2500,  0.5000])
    """
    return torch.arange(-radius, radius + 1, dtype=dtype, device=device) * (2 / max(largest - 1, 1))


def gaussian(points: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """The mask along one axis at the given points, exp(-((x - mu) / sigma)^2 / 2), the paper's Eq. 1."""
    return torch.exp(-0.5 * ((points - mu) / sigma).square())


def live_radius(largest: int, mu: float, sigma: float, threshold: float = THRESHOLD) -> int:
    """The pixels of the kernel kept on either side of its centre, where the mask is not below the threshold.

    The mask reaches the threshold at ``mu +- sigma * sqrt(-2 ln T)``. The point farther from the centre counts for both
    sides, as published, so the kernel keeps its centre and an odd size, ``2 * radius + 1`` of at most ``largest``.

    Args:
        largest: the number of points from -1 to 1, odd.
        mu: the centre of the mask on [-1, 1].
        sigma: its standard deviation, in the same unit.
        threshold: T, between 0 and 1.

    >>> live_radius(33, 0.0, 0.075), live_radius(33, 0.25, 0.075), live_radius(33, 0.0, 1.0)
    (2, 6, 16)
    """
    half = (largest - 1) // 2
    reach = abs(mu) + sigma * math.sqrt(-2 * math.log(threshold))
    return min(math.floor(reach * half + ROUNDING), half)


def sigma_range(largest: int, threshold: float = THRESHOLD) -> Pair:
    """The lowest and the highest sigma of a mask on ``largest`` points.

    At the lowest, the mask falls to the threshold one pixel from the centre. Below that, the kernel is a single point
    whose value does not depend on sigma, so that sigma could never grow again.
    """
    if largest < 3:
        return _LARGEST_SIGMA, _LARGEST_SIGMA
    return 2 / ((largest - 1) * math.sqrt(-2 * math.log(threshold))), _LARGEST_SIGMA


def sigma_for(largest: int, size: int, threshold: float = THRESHOLD) -> float:
    """The sigma of a centred mask that leaves a kernel of ``size`` points: the middle of the range that does.

    >>> live_radius(33, 0.0, sigma_for(33, 7))
    3
    """
    low, high = sigma_range(largest, threshold)
    return min(max(low * size / 2, low), high)


def check_sigma(sigma: object, largest: Size, threshold: float = THRESHOLD) -> Pair:
    """sigma as a (height, width) pair, within :func:`sigma_range`.

    Raises:
        TypeError: if it is not one number or two.
        ValueError: if a number is not finite and positive.
    """
    pair = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    message = f"sigma={sigma!r}: expected one or two (height, width) finite positive numbers, on kernels from -1 to 1"
    if (
        not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in pair)
    ):
        raise TypeError(message)
    if not all(0 < value < math.inf for value in pair):
        raise ValueError(message)
    height, width = (
        min(max(float(value), low), high)
        for value, (low, high) in zip(pair, (sigma_range(n, threshold) for n in largest), strict=True)
    )
    return height, width
