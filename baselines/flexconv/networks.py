"""Networks with FlexConv layers in the place of their convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import nn

from dynpool.conversion import KernelReport, replace_convolutions
from dynpool.graph import PassOptions
from dynpool.size_math import Size, pair

from .layer import Evaluation, FlexConv2d, check_largest
from .mask import THRESHOLD, check_sigma, sigma_for

__all__ = ["flexconv_network"]


def flexconv_network(
    model: nn.Module,
    input_size: Sequence[int] = (3, 224, 224),
    *,
    largest: int | Size | None = None,
    sigma: float | Sequence[float] | None = None,
    threshold: float = THRESHOLD,
    hidden: int = 32,
    filters: int = 4,
    scale: float = 25.6,
    learn: bool = True,
    evaluation: Evaluation = "auto",
    published: bool = False,
    **options: Unpack[PassOptions],
) -> tuple[nn.Module, KernelReport]:
    """A copy of a network whose convolutions are FlexConv layers, and a report of what was left alone and why.

    Romero et al., ICLR 2022. Strides, sizes of maps, biases, groups and all other weights stay. A layer's kernel is
    drawn anew from PyTorch's generator and scaled so that the outputs for white maps have the variance that the layer's
    own weights give. `dynpool.convert` can learn the sizes of the maps of the network as well.

    Args:
        model: any module without learned sizes; it is not changed.
        input_size: (C, H, W) in pixels.
        largest: points of the largest kernel, odd; None: as many as the map of a layer has pixels, one more where that
            is even, as published. A layer whose map of n pixels has less than (largest + 1) / 2 is left alone: the
            outer points would never lie on it.
        sigma: initial standard deviation of the mask, on kernels from -1 to 1; None: that which leaves a kernel of the
            size of the layer's own.
        threshold, hidden, filters, scale, evaluation, published: as for :class:`FlexConv2d`.
        learn: False: the mask is not learned, and with it the size of the kernel.
        options: ``inputs``, ``batch``, ``dtype``: what a pass needs besides an image, as in :func:`dynpool.convert`.

    Raises:
        TypeError: if `model` is not an nn.Module, or an argument is of a wrong type.
        ValueError: for a sigma of zero or infinity or another argument out of range, a model that has been converted,
            cannot run at `input_size` or has no convolution that can be replaced.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        >>> network, report = flexconv_network(net, (3, 32, 32), sigma=0.075)
        >>> print(report)
        convolution  kind          map   kernel     live  why
        0            Conv2d      32x32      3x3      5x5
        2            Conv2d      32x32      1x1           left alone: it is pointwise
        1 of 2 replaced, 296 -> 4,940 parameters
    """
    given = None if largest is None else check_largest(largest)
    if sigma is not None:
        check_sigma(sigma, given or (3, 3), THRESHOLD)
    FlexConv2d(1, 1, sigma=0.1, threshold=threshold, hidden=hidden, filters=filters, scale=scale, evaluation=evaluation)

    def make(layer: nn.Conv2d, map_size: Size) -> FlexConv2d | str:
        points = given or pair(max(n + 1 - n % 2, 3) for n in map_size)
        if any(k > 2 * n - 1 for k, n in zip(points, map_size, strict=True)):
            return f"kernels of up to {points[0]}x{points[1]} pixels are larger than its map allows"
        own = pair(layer.kernel_size)
        start = pair(sigma_for(n, k, threshold) for n, k in zip(points, own, strict=True)) if sigma is None else sigma
        new = FlexConv2d(
            layer.in_channels, layer.out_channels, own, pair(layer.stride),
            layer.padding if isinstance(layer.padding, str) else pair(layer.padding),
            groups=layer.groups, bias=layer.bias is not None, largest=points,
            sigma=start, threshold=threshold, hidden=hidden, filters=filters, scale=scale, learn=learn,
            evaluation=evaluation, published=published,
        )  # fmt: skip
        new.to(device=layer.weight.device, dtype=layer.weight.dtype)
        with torch.no_grad():
            energy = layer.weight.double().square().sum((1, 2, 3)).mean()
            new.scale_kernel(float(energy) or 1 / 3)
            if new.bias is not None and layer.bias is not None:
                new.bias.copy_(layer.bias)
                new.bias.requires_grad_(layer.bias.requires_grad)
        return new

    return replace_convolutions(model, input_size, make, **options)
