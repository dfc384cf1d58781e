"""The highest frequency of a FlexConv kernel, and by how much it exceeds the sampling limit (Romero et al., 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .magnet import MAGNet

__all__ = ["SIGMA_CUT", "excess", "kernel_bandwidth", "magnet_bandwidth", "nyquist", "published_excess"]

#: Standard deviations at which the spectrum of a Gaussian counts as ended: 2, as in the published runs.
SIGMA_CUT = 2.0


def nyquist(largest: int) -> float:
    """The highest frequency that ``largest`` points from -1 to 1 can represent, in cycles per unit: (k - 1) / 4.

    >>> nyquist(33)
    8.0
    """
    return (largest - 1) / 4


def magnet_bandwidth(magnet: MAGNet, *, sigma_cut: float = SIGMA_CUT) -> Tensor:
    """The bound f+ on the frequencies of a MAGNet along each axis, cycles per unit, shape (2,).

    A Gabor filter has its spectrum at ``w / (2 pi)``, Gaussian with the standard deviation ``gamma / (2 pi)``. Filters
    are multiplied, so their spectra are convolved and the ends of these add up:

        f+ = sum over l of max over channels of (|w_l| + sigma_cut * gamma_l) / (2 pi).

    It is not an exact bound, as a Gaussian ends nowhere: 4.6 % of the integral of one of them lies beyond
    ``sigma_cut = 2``.
    """
    ends = [(f.weight.abs() + sigma_cut * f.gamma.abs()).amax(0) for f in magnet.gabors]
    return torch.stack(ends).sum(0) / (2 * math.pi)


def kernel_bandwidth(magnet: MAGNet, sigma: Tensor, *, sigma_cut: float = SIGMA_CUT) -> Tensor:
    """The bound for the masked kernel: that of the MAGNet and ``sigma_cut / (2 pi sigma)`` of the mask, shape (2,)."""
    return magnet_bandwidth(magnet, sigma_cut=sigma_cut) + sigma_cut / (2 * math.pi * sigma)


def excess(bandwidth: Tensor, largest: tuple[int, int]) -> Tensor:
    """The squares of what exceeds the sampling limit of each axis, summed: ``sum relu(f+ - f_nyq)^2``, a scalar."""
    limits = torch.tensor([nyquist(n) for n in largest], dtype=bandwidth.dtype, device=bandwidth.device)
    return (bandwidth - limits).clamp_min(0).square().sum()


def published_excess(
    magnet: MAGNet, sigma: Tensor, largest: int, *, mask: bool, sigma_cut: float = SIGMA_CUT
) -> Tensor:
    """:func:`excess` as in the authors' code, a scalar: filter by filter, with the larger of both axes.

    Each of the L filters may have the L-th part of the limit, and has the L-th part of the mask's frequencies.
    """
    filters = len(magnet.gabors)
    ends = torch.stack([(f.weight.abs() + sigma_cut * f.gamma.abs()).amax() for f in magnet.gabors])
    if mask:
        ends = ends + sigma_cut / sigma.abs().min() / filters
    return (ends / (2 * math.pi) - nyquist(largest) / filters).clamp_min(0).square().sum()
