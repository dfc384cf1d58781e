"""Networks with N-Jet layers in the place of their convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import nn

from dynpool.common.arguments import check_flags, check_numbers, check_whole
from dynpool.conversion import KernelReport, replace_convolutions
from dynpool.graph import PassOptions
from dynpool.size_math import Size, pair

from .layer import NJetConv2d
from .size_math import radius_of, sigma_within

__all__ = ["njet_network"]


def njet_network(
    model: nn.Module,
    input_size: Sequence[int] = (3, 224, 224),
    *,
    order: int = 3,
    sigma: float = 1.0,
    sigmas: int = 1,
    truncate: float = 2.0,
    learn: bool = True,
    subsample: float | None = None,
    published: bool = False,
    **options: Unpack[PassOptions],
) -> tuple[nn.Module, KernelReport]:
    """A copy of a network whose convolutions are N-Jet layers, and a report of what was replaced or left alone and why.

    Pintea et al., IEEE TIP 2021. Strides, sizes of maps, biases, groups and all other weights stay. The coefficients of
    a layer replace its ``weight``; drawn from PyTorch's generator, they keep the variance that the layer's own weights
    give for white maps (``published``: they are standard normal). Sigma is bounded so that a kernel never has more
    pixels than its map has at `input_size`; a layer whose kernel would have more at the start is left alone.
    `dynpool.convert` can learn the sizes of the maps of the network as well.

    Args:
        model: any module without learned sizes; it is not changed.
        input_size: (C, H, W) in pixels.
        order: N, highest order of a derivative, at least 0.
        sigma: initial scale in pixels.
        sigmas: number of scales of a layer; a layer whose output channels it does not divide is left alone.
        truncate: half-width of a kernel in units of sigma, see :class:`NJetConv2d`.
        learn: False: sigma is not learned.
        subsample: r of the subsampling tied to sigma, see :class:`NJetConv2d`; for networks without paths that must
            agree in size.
        published: initial coefficients and subsampling as published.
        options: ``inputs``, ``batch``, ``dtype``: what a pass needs besides an image, as in :func:`dynpool.convert`.

    Raises:
        TypeError: if `model` is not an nn.Module, or an argument is of a wrong type.
        ValueError: for a sigma of zero or infinity, an order below 0 or another argument out of range, a model that has
            been converted, cannot run at `input_size` or has no convolution that can be replaced.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        >>> network, report = njet_network(net, (3, 32, 32))
        >>> print(report)
        convolution  kind          map   kernel     live  why
        0            Conv2d      32x32      3x3      7x7
        2            Conv2d      32x32      1x1           left alone: it is pointwise
        1 of 2 replaced, 296 -> 321 parameters
    """
    check_whole(0, order=order)
    check_whole(1, sigmas=sigmas)
    check_flags(learn=learn, published=published)
    check_numbers("a finite positive number", lambda n: 0 < n < math.inf, sigma=sigma, truncate=truncate)
    if subsample is not None:
        check_numbers("a finite positive number, or None", lambda n: 0 < n < math.inf, subsample=subsample)

    def make(layer: nn.Conv2d, map_size: Size) -> NJetConv2d | str:
        if layer.out_channels % sigmas:
            return f"its {layer.out_channels} output channels are not a multiple of sigmas={sigmas}"
        most = sigma_within(min(map_size), truncate)
        if most < sigma:
            side = 2 * radius_of(sigma, truncate) + 1
            return f"its kernel of {side}x{side} pixels would be larger than its map"
        fan_in = math.prod(layer.weight.shape[1:])
        new = NJetConv2d(
            layer.in_channels, layer.out_channels, pair(layer.kernel_size), pair(layer.stride),
            layer.padding if isinstance(layer.padding, str) else pair(layer.padding),
            groups=layer.groups, bias=layer.bias is not None, order=order, sigma=sigma, sigmas=sigmas,
            truncate=truncate, learn=learn, gain=float((fan_in * layer.weight.detach().double().square().mean()).sqrt())
            or 1.0, bounds=(min(0.25, sigma), most), subsample=subsample, published=published,
        )  # fmt: skip
        new.to(device=layer.weight.device, dtype=layer.weight.dtype)
        with torch.no_grad():
            if new.bias is not None and layer.bias is not None:
                new.bias.copy_(layer.bias)
                new.bias.requires_grad_(layer.bias.requires_grad)
        return new

    return replace_convolutions(model, input_size, make, **options)
