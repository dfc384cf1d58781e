"""MAGNet, the multiplicative anisotropic Gabor network that a FlexConv kernel is sampled from (Romero et al., 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["GaborFilter", "MAGNet"]


class MAGNet(nn.Module):
    """A small network of coordinates: kernel values at points of [-1, 1]^2, with a bounded bandwidth.

    With L Gabor filters ``g_1 ... g_L`` (Romero et al., Eq. 2 to 5):

        h_1 = g_1(x),    h_l = (A_l h_{l-1} + a_l) * g_l(x),    out = A h_L + a,
        g_l(x) = exp(-1/2 sum_d (gamma_l,d (x_d - mu_l,d))^2) * sin(w_l x + b_l).

    The gammas of an axis are learned apart: the filters are anisotropic.

    Initial values: the gammas of filter l (from 1) are drawn from a gamma distribution of shape 6 / l and rate 1, the
    mus uniformly within ``spread`` of the origin, ``w_l = gamma_l * scale / sqrt(L) * u`` with u uniform within
    1 / sqrt(2), the phases within pi, and the matrices A_l uniformly within 1 / sqrt(hidden); their biases are 0.

    Shape: (P, 2), points as (row, column) coordinates, to (P, out), of the dtype of the parameters. Filters are
    computed in the dtype of the points, and nothing under autocast.

    Args:
        out: number of values at each point: the channels of all kernels.
        hidden: width.
        filters: number of Gabor filters, L, at least 1. The published networks have 4: three layers and the first.
        scale: initial frequency scale; 25.6 in the published runs.
        spread: largest initial distance of a filter's centre from the origin, per axis.
    """

    def __init__(
        self, out: int, *, hidden: int = 32, filters: int = 4, scale: float = 25.6, spread: float = 1.0
    ) -> None:
        super().__init__()
        self.filters = nn.ModuleList(
            GaborFilter(hidden, shape=6.0 / number, scale=scale / math.sqrt(filters), spread=spread)
            for number in range(1, filters + 1)
        )
        self.mixers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(filters - 1))
        self.output = nn.Linear(hidden, out)
        bound = 1 / math.sqrt(hidden)
        for mixer in (*self.mixers, self.output):
            nn.init.uniform_(mixer.weight, -bound, bound)
            nn.init.zeros_(mixer.bias)

    @property
    def gabors(self) -> list[GaborFilter]:
        """The filters g_1 ... g_L."""
        return [gabor for gabor in self.filters if isinstance(gabor, GaborFilter)]

    def forward(self, points: Tensor) -> Tensor:
        first, *others = self.filters
        with torch.autocast(points.device.type, enabled=False):  # phases of many radians need all digits
            hidden = first(points)
            for gabor, mixer in zip(others, self.mixers, strict=True):
                hidden = mixer(hidden) * gabor(points)
            return self.output(hidden)


class GaborFilter(nn.Module):
    """The layer g_l of :class:`MAGNet`: (P, 2) to (P, hidden), a sine wave in a Gaussian window in each channel."""

    def __init__(self, hidden: int, *, shape: float, scale: float, spread: float) -> None:
        super().__init__()
        gamma = torch.distributions.Gamma(shape, 1.0).sample((hidden, 2))
        self.gamma = nn.Parameter(gamma)
        self.mu = nn.Parameter(torch.empty(hidden, 2).uniform_(-spread, spread))
        self.weight = nn.Parameter(torch.empty(hidden, 2).uniform_(-1, 1) * gamma * scale / math.sqrt(2))
        self.phase = nn.Parameter(torch.empty(hidden).uniform_(-math.pi, math.pi))

    def forward(self, points: Tensor) -> Tensor:
        gamma, mu, weight, phase = (p.to(points.dtype) for p in (self.gamma, self.mu, self.weight, self.phase))
        distance = (gamma * (points[:, None] - mu)).square().sum(-1)
        values = torch.exp(-0.5 * distance) * torch.sin(points @ weight.T + phase)
        return values.to(self.weight.dtype)
