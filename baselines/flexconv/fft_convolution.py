"""Convolution by Fourier transforms, and when it is faster than the sum over the kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dynpool.size_math import Size

__all__ = ["fast_length", "fft_conv2d", "fft_is_faster", "transform_size"]

_FASTEST = 20  # multiply-accumulates per nanosecond of dense convolutions with small kernels, forward and backward
_LARGE = 17  # pixels; larger kernels leave the fast routines


def fft_conv2d(x: Tensor, weight: Tensor, *, padding: Size, stride: Size = (1, 1), groups: int = 1) -> Tensor:
    """``F.conv2d(x, weight, None, stride, padding, 1, groups)``, computed by real Fourier transforms of both.

    The transforms have the next lengths without prime factors above 5. A shift of the map by its padding lets the
    border of zeros before it serve for the one behind it, too. All positions are computed; the stride selects some.

    Args:
        x: (N, C, H, W); float16 and bfloat16 are computed in float32.
        weight: (C_out, C / groups, k_h, k_w), at most H + 2 * padding pixels high, and as wide.
        padding: zeros at each border, (height, width).
        stride: pixels of x per pixel of the result.
        groups: as for nn.Conv2d.

    Returns:
        (N, C_out, H_out, W_out), the dtype of x.
    """
    channels, height, width = x.shape[1:]
    kernel = (weight.shape[-2], weight.shape[-1])
    rows, columns = height + 2 * padding[0] - kernel[0] + 1, width + 2 * padding[1] - kernel[1] + 1
    lengths = transform_size((height, width), kernel, padding)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    spectrum = torch.fft.rfft2(F.pad(x.to(wide), (padding[1], 0, padding[0], 0)), s=lengths)
    taps = torch.fft.rfft2(weight.to(wide), s=lengths).conj()
    spectrum = spectrum.unflatten(1, (groups, channels // groups))
    taps = taps.unflatten(0, (groups, weight.shape[0] // groups))
    product = torch.einsum("ngihw,goihw->ngohw", spectrum, taps).flatten(1, 2)
    y = torch.fft.irfft2(product, s=lengths)[..., : rows : stride[0], : columns : stride[1]]
    return y.to(x.dtype)


def fft_is_faster(
    size: Size, kernel: Size, *, padding: Size, stride: Size, batch: int, channels: Size, groups: int
) -> bool:
    """Whether :func:`fft_conv2d` is expected to be faster than ``F.conv2d``, forward and backward.

    A sum over the kernel takes its multiply-accumulates divided by a speed that grows with the channels per group and
    is a third where the kernel is larger than 17 pixels. The transforms take ``P log2(P)`` each on P pixels, and their
    product a complex multiplication per pixel and pair of channels. The constants are those of 35 shapes measured on
    one CPU core with PyTorch 2.14, from 8 to 64 pixels and with kernels from 3 to 49; no GPU was measured.

    Args:
        size: (height, width) of the map.
        kernel: (height, width) of the kernel.
        padding: zeros at each border.
        stride: pixels of the map per pixel of the result.
        batch: maps in the batch.
        channels: (in, out).
        groups: as for nn.Conv2d.

    >>> kinds = {"padding": (3, 3), "stride": (1, 1), "batch": 16}
    >>> fft_is_faster((28, 28), (7, 7), channels=(64, 64), groups=1, **kinds)
    False
    >>> fft_is_faster((28, 28), (7, 7), channels=(64, 64), groups=64, **kinds)
    True
    """
    per_group = channels[0] // groups
    pairs = channels[1] * per_group
    out = 1
    for n, k, p, s in zip(size, kernel, padding, stride, strict=True):
        out *= (n + 2 * p - k) // s + 1
    speed = min(2 * per_group, _FASTEST) / (3 if max(kernel) > _LARGE else 1)
    spatial = batch * pairs * out * kernel[0] * kernel[1] / speed
    lengths = transform_size(size, kernel, padding)
    pixels = lengths[0] * lengths[1]
    transforms = pixels * math.log2(pixels) * (batch * sum(channels) + pairs)
    return 0.73 * transforms + 0.85 * 2 * pixels * batch * pairs < spatial


def transform_size(size: Size, kernel: Size, padding: Size) -> Size:
    """The (height, width) of the transforms of :func:`fft_conv2d`."""
    height, width = (
        fast_length(max(n + p, k, n + 2 * p - k + 1)) for n, k, p in zip(size, kernel, padding, strict=True)
    )
    return height, width


def fast_length(n: int) -> int:
    """The lowest whole number from n on without prime factors above 5.

    >>> [fast_length(n) for n in (1, 7, 33, 48, 97)]
    [1, 8, 36, 48, 100]
    """
    while (rest := _without(n, (2, 3, 5))) != 1:
        n += 1 if rest else 0
    return n


def _without(n: int, factors: tuple[int, ...]) -> int:
    for factor in factors:
        while n % factor == 0:
            n //= factor
    return n
