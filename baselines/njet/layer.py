"""The N-Jet layer: a convolution whose kernels are combinations of Gaussian derivatives of a learned scale.

Departures from the publication, each with a way back (``published=True`` for the first two):

| | published | here |
| --- | --- | --- |
| initial coefficients | standard normal | normal, of the one variance that keeps the variance of white maps |
| subsampling | of the input, by max(1, 2^sigma / r), to the nearest pixel | of the output, by max(1, sigma / r) |
| bounds of sigma | none | 1/4 to 16 pixels (``bounds``); a step that leads beyond is cut |
| scales | one a layer | one a layer, or one for each group of output channels (``sigmas``) |
| bias | none | as in `nn.Conv2d` |
| weight decay of the scale | as for weights | none (`dynpool.parameter_groups`) |

Reference: Pintea et al., "Resolution learning in deep convolutional networks using scale-space theory", IEEE TIP 2021.
Written from its formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.common.arguments import check_flags, check_numbers, check_whole
from dynpool.resizers import LearnedKernelConv2d
from dynpool.size_math import Pair, Size

from .basis import njet_basis, njet_kernel
from .size_math import radius_of, scale_for, subsampling

__all__ = ["FixedSubsampling2d", "NJetConv2d"]

_HALF_PIXEL = 0.5  # by which a radius exceeds, on average, the number that is rounded up


class NJetConv2d(LearnedKernelConv2d):
    """A drop-in for `nn.Conv2d` that learns the shape and the size of its kernels: an N-Jet layer.

    Pintea et al., IEEE TIP 2021: ``kernel = sum over i + j <= order of a_ij sigma^(i+j) d^(i+j) G_sigma / dy^i dx^j``,
    with Gaussians of sum 1 and a radius of ceil(truncate * sigma + 0.5) pixels. The coefficients a_ij and
    ``scale = log2(sigma)`` are parameters, so sigma stays positive; they take the place of ``weight``, which is the
    live kernel and not a parameter. The size of the kernel follows sigma, with no gradient through its rounding.

    Shape: (N, C_in, H, W) to (N, C_out, H_out, W_out) as for `nn.Conv2d` with these arguments; with ``subsample`` the
    output is smaller.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as for `nn.Conv2d`, where
            ``kernel_size`` only determines, with ``padding``, the size of the output: see `LearnedKernelConv2d`.
        order: N, highest order of a derivative, at least 0.
        sigma: initial scale in pixels.
        sigmas: number of scales: each serves out_channels / sigmas output channels.
        truncate: half-width of a kernel in units of sigma.
        learn: False: sigma is not learned.
        gain: factor of the standard deviation of the output of white maps at initialisation: 1 keeps the variance, the
            square root of 2 keeps it behind a ReLU.
        bounds: lowest and highest sigma.
        subsample: r of the subsampling tied to sigma, by max(1, sigma / r), to the nearest pixel, which has no
            gradient; None: none.
        published: initial coefficients and subsampling as published (see the module's table).
        padding_mode: "zeros".

    Raises:
        TypeError: if an argument is of a wrong type.
        ValueError: for a sigma of zero or infinity or outside the bounds, an order below 0, or as
            `LearnedKernelConv2d`.

    >>> layer = NJetConv2d(3, 8, 3, padding=1, sigma=1.0)
    >>> layer.extent, layer(torch.zeros(1, 3, 16, 16)).shape
    ((7, 7), torch.Size([1, 8, 16, 16]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Size = 3,
        stride: int | Size = 1,
        padding: int | Size | str = 0,
        dilation: int | Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        order: int = 3,
        sigma: float = 1.0,
        sigmas: int = 1,
        truncate: float = 2.0,
        learn: bool = True,
        gain: float = 1.0,
        bounds: Pair = (0.25, 16.0),
        subsample: float | None = None,
        published: bool = False,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode=padding_mode
        )
        check_whole(0, order=order)
        check_whole(1, sigmas=sigmas)
        check_flags(learn=learn, published=published)
        check_numbers("a finite positive number", _positive, sigma=sigma, truncate=truncate, gain=gain)
        if subsample is not None:
            check_numbers("a finite positive number, or None", _positive, subsample=subsample)
        if out_channels % sigmas:
            raise ValueError(f"sigmas={sigmas}: expected a divisor of out_channels={out_channels}")
        self.bounds = _checked_bounds(bounds)
        low, high = self.bounds
        if not low <= sigma <= high:
            raise ValueError(f"sigma={sigma!r}: expected a number within bounds={bounds!r}")
        self.order, self.truncate, self.subsample, self.published = order, float(truncate), subsample, published
        count = (order + 1) * (order + 2) // 2
        self.coefficients = nn.Parameter(torch.empty(out_channels, in_channels // groups, count))
        self.scale = nn.Parameter(torch.full((sigmas,), scale_for(sigma)), requires_grad=learn)
        self._seen = (scale_for(sigma),) * sigmas
        self.reset_coefficients(gain=gain)

    @torch.no_grad()
    def reset_coefficients(self, *, gain: float = 1.0) -> None:
        """Draw new coefficients, with which the variance of white maps is multiplied by ``gain ** 2``."""
        if self.published:
            self.coefficients.normal_()
            return
        energy = self.basis().square().sum((1, 2, 3))  # of the basis, for each scale
        deviation = gain / (self.coefficients.shape[1] * energy).sqrt()
        grouped = self.coefficients.view(len(deviation), -1)
        grouped.normal_().mul_(deviation[:, None])

    @property
    def sigma(self) -> Tensor:
        """The scales in pixels, (sigmas,), differentiable: 2 to the power of ``scale``."""
        return torch.exp2(self.scale)

    def basis(self) -> Tensor:
        """The Gaussian derivatives that kernels are combined from, (sigmas, F, height, width)."""
        return njet_basis(self.sigma, self.order, self.extent[0] // 2, self.truncate)

    def size_parameters(self) -> Sequence[nn.Parameter]:
        """The parameter ``scale``."""
        return (self.scale,)

    def extent_at(self, values: tuple[float, ...]) -> Size:
        """The side 2 * radius + 1 of the largest sigma, twice."""
        side = 2 * radius_of(self._largest(values), self.truncate) + 1
        return side, side

    def kernel(self, extent: Size) -> Tensor:
        """The kernels, (C_out, C_in / groups, *extent), differentiable."""
        return njet_kernel(
            self.coefficients, self.sigma, order=self.order, truncate=self.truncate, radius=extent[0] // 2
        )

    def learned_extent(self) -> Tensor:
        """The side without rounding, 2 * (truncate * sigma + 0.5 + 0.5) + 1 at the largest sigma, twice."""
        side = 2 * (self.truncate * self.sigma.max() + 0.5 + _HALF_PIXEL) + 1
        return side.expand(2)

    def rounded_extent(self) -> Tensor:
        """The side 2 * radius + 1 of the largest sigma, twice, as a tensor."""
        low, high = self.bounds
        sigma = self.sigma.detach().double().max().clamp(low, high)
        return (2 * torch.ceil(self.truncate * sigma + 0.5).long() + 1).expand(2)

    def projected(self, values: tuple[float, ...], previous: tuple[float, ...]) -> tuple[float, ...]:
        """The scales within the bounds; one that is not finite becomes the previous one."""
        low, high = map(scale_for, self.bounds)
        return tuple(min(max(v, low), high) if math.isfinite(v) else p for v, p in zip(values, previous, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x, (N, C_in, H, W), with the live kernels, subsampled if that was asked for."""
        factor = 1.0 if self.subsample is None else self.factor
        if self.published:
            return super().forward(_subsampled(x, factor, "nearest"))
        return _subsampled(super().forward(x), factor, "nearest-exact")

    @property
    def factor(self) -> float:
        """The factor by which maps are subsampled at the present sigma; 1: they are not."""
        if self.subsample is None:
            return 1.0
        return subsampling(self._largest(self.values), self.subsample, published=self.published)

    def frozen(self) -> nn.Module:
        """An `nn.Conv2d` with the live kernels, in sequence with a `FixedSubsampling2d` if maps are subsampled."""
        plain = super().frozen()
        if self.factor == 1:
            return plain
        if self.published:
            return nn.Sequential(FixedSubsampling2d(self.factor, "nearest"), plain)
        return nn.Sequential(plain, FixedSubsampling2d(self.factor, "nearest-exact"))

    def extra_repr(self) -> str:
        """The settings of the convolution, order and sigma, as shown by print."""
        sigmas = ", ".join(f"{2.0**value:.4g}" for value in self.values)
        subsample = "" if self.subsample is None else f", subsample={self.subsample:g}"
        return f"{super().extra_repr()}, order={self.order}, sigma={sigmas}, truncate={self.truncate:g}{subsample}"

    def _largest(self, values: tuple[float, ...]) -> float:
        """The largest sigma, within the bounds, in which a parameter may not have been brought back yet."""
        low, high = self.bounds
        finite = [2.0 ** min(v, 64.0) for v in values if math.isfinite(v)]
        return min(max([low, *finite]), high)


class FixedSubsampling2d(nn.Module):
    """A map made smaller by a factor f, to the nearest pixel: (N, C, H, W) to (N, C, floor(H / f), floor(W / f))."""

    def __init__(self, factor: float, mode: str) -> None:
        super().__init__()
        self.factor, self.mode = factor, mode

    def forward(self, x: Tensor) -> Tensor:
        return _subsampled(x, self.factor, self.mode)

    def extra_repr(self) -> str:
        return f"factor={self.factor:.4g}, mode={self.mode!r}"


def _subsampled(x: Tensor, factor: float, mode: str) -> Tensor:
    if factor == 1:
        return x
    size: Any = [max(int(n / factor), 1) for n in x.shape[-2:]]
    return F.interpolate(x, size, mode=mode)


def _positive(number: float) -> bool:
    return 0 < number < math.inf


def _checked_bounds(bounds: Pair) -> Pair:
    expected = f"bounds={bounds!r}: expected two finite numbers with 0 < lowest <= highest"
    try:
        low, high = map(float, bounds)
    except (TypeError, ValueError):
        raise TypeError(expected) from None
    if not 0 < low <= high < math.inf:
        raise ValueError(expected)
    return low, high
