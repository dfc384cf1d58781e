"""DiffStride: pooling in the frequency domain with learned strides (Riad et al., ICLR 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dynpool.spectral_sizes import check_smoothness, diffstride_size, least_stride

from .spectral import Norm, check_map, check_norm, computed_in, like, spectral_resize, symmetric_resize

__all__ = ["diffstride2d"]

Pair = tuple[int, int]


def diffstride2d(
    x: Tensor,
    stride: Tensor | float | Sequence[float],
    *,
    smoothness: float = 4.0,
    symmetric: bool = False,
    cropping: bool = True,
    norm: Norm = "backward",
    size: Pair | None = None,
) -> Tensor:
    """The feature map x without its high frequencies, cropped by a stride with a gradient (Riad et al., ICLR 2022).

    The spectrum of x is multiplied by a trapezoid per axis, cropped to where that is above zero, and transformed back.
    The gain of the frequency of distance d is ``clip(1 + (t - d) / R, 0, 1)``, R the smoothness and, with s the stride
    of the axis,

        t = max(H / s, 2) / 2 on rows,    t = max(W / s, 2) / 2 + 1 on columns.

    Column m has d = m. Of the rows, +m has d = m (for odd H: min(m + 1, (H - 1) / 2)) and -m has d = m - 1: the
    published window, which is not symmetric in +-frequency, so that the imaginary part that it leaves is dropped. With
    ``symmetric`` +m and -m have d = m on both axes, and t of the rows holds for columns too: then the result is real by
    itself, and transposing x transposes it.

    A stride counts as at least ``max(1, n / (n - R))`` on an axis of n pixels (1 where R >= n), with the gradient
    passed straight through. The gradient to the stride flows through the gains alone, in full at both ends of the clip;
    it is zero where the 2 in t binds.

    Args:
        x: (N, C, H, W) or (C, H, W), float16, bfloat16 (both computed in float32), float32 or float64. Keeps its memory
            format.
        stride: input pixels per output pixel, finite and positive: a tensor of two (rows, columns) or one number, a
            float, or a pair of floats.
        smoothness: R, the width of the ramp in frequencies; finite and positive.
        symmetric: treat frequencies +m and -m alike.
        cropping: False keeps the size of x and only takes out frequencies.
        norm: normalisation of the transforms, as in torch.fft. "backward", as published, multiplies the mean of a map
            by ``H * W / (H_out * W_out)``, which jumps with the size; "ortho" keeps the energy (the sum of squares) of
            the kept frequencies, "forward" their amplitude.
        size: (H_out, W_out) in pixels. Default: :func:`dynpool.spectral_sizes.diffstride_size`, for which the stride is
            read on the host. Another size crops further or adds zeros to the spectrum; the gains stay.

    Returns:
        (N, C, H_out, W_out) or (C, H_out, W_out), dtype of x.

    Raises:
        TypeError: if x or stride is of a wrong type.
        ValueError: if a shape, a value, a name or a device is out of range.

    >>> diffstride2d(torch.ones(1, 1, 32, 32), 2.0).shape, diffstride2d(torch.ones(1, 1, 32, 32), 2.0)[0, 0, 0, 0]
    (torch.Size([1, 1, 24, 24]), tensor(1.7778))
    """
    check_map(x)
    check_norm(norm)
    check_smoothness(smoothness)
    strides = _check_stride(stride, x)
    if size is None:
        size = (x.shape[-2], x.shape[-1])
        if cropping:
            size = _own_size(size, strides, smoothness, symmetric)
    return _diffstride2d(x, strides, smoothness, symmetric, norm, _check_size(size, x))


@torch.compiler.disable  # PyTorch's FFTs refuse sizes that a graph computes, so the graph ends where they are read
def _own_size(size: Pair, strides: Tensor, smoothness: float, symmetric: bool) -> Pair:
    rows, columns = strides.detach().tolist()
    return diffstride_size(size, (rows, columns), smoothness, symmetric=symmetric)


def _diffstride2d(x: Tensor, strides: Tensor, smoothness: float, symmetric: bool, norm: Norm, size: Pair) -> Tensor:
    """The function without its checks."""
    dtype = computed_in(x.dtype)
    height, width = x.shape[-2:]
    thresholds = [
        _threshold(n, stride, smoothness) for n, stride in zip((height, width), strides.to(dtype), strict=True)
    ]
    columns = torch.arange(width // 2 + 1, dtype=dtype, device=x.device)
    if symmetric:
        rows = torch.arange(height // 2 + 1, dtype=dtype, device=x.device)
    else:
        rows = row_distances(height, dtype=dtype, device=x.device)
        thresholds[1] = thresholds[1] + 1
    gains = _gain(rows, thresholds[0], smoothness), _gain(columns, thresholds[1], smoothness)
    resize = symmetric_resize if symmetric else spectral_resize
    return like(resize(x.to(dtype), size, gains, norm), x)


def row_distances(n: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Distance d of each of the n rows of a spectrum in FFT order: 0, 1, ... and ..., 1, 0 (odd n: 1, 2, ... first)."""
    first = torch.arange((n + 1) // 2, dtype=dtype, device=device)
    if n % 2:
        first = (first + 1).clamp(max=(n - 1) // 2)
    return torch.cat([first, torch.arange(n // 2, dtype=dtype, device=device).flip(0)])


def _threshold(n: int, stride: Tensor, smoothness: float) -> Tensor:
    """The distance t up to which the gain is 1: max(n / s, 2) / 2."""
    least = least_stride(n, smoothness)
    stride = torch.where(stride < least, least + (stride - stride.detach()), stride)  # straight through
    extent = n / stride
    return torch.where(extent < 2, 2.0, extent) / 2


def _gain(distance: Tensor, threshold: Tensor, smoothness: float) -> Tensor:
    """clip(1 + (t - d) / R, 0, 1). Ties, common at stride 2, pass the gradient in full: hence torch.where."""
    gain = 1 + (threshold - distance) / smoothness
    gain = torch.where(gain > 1, 1.0, gain)
    return torch.where(gain < 0, 0.0, gain)


# -------------------------------------------------------------------------------------------------------- validation

_ALLOWED = "expected one or two (height, width) finite positive numbers"


def _check_stride(stride: Tensor | float | Sequence[float], x: Tensor) -> Tensor:
    """The stride as a tensor (rows, columns); its values are checked only where they are on the host already."""
    shape = f"for x of shape {tuple(x.shape)}"
    if isinstance(stride, Tensor):
        if not stride.dtype.is_floating_point:
            raise TypeError(f"stride has dtype {stride.dtype} {shape}: expected a floating-point tensor")
        if stride.shape not in ((), (1,), (2,)):
            raise ValueError(f"stride has shape {tuple(stride.shape)} {shape}: expected (2,), (1,) or ()")
        if stride.device != x.device:
            raise ValueError(f"stride is on {stride.device} {shape} on {x.device}: expected the same device")
        return stride.expand(2)
    values = [stride, stride] if isinstance(stride, (int, float)) else stride
    if not isinstance(values, (tuple, list)) or not all(isinstance(v, (int, float)) for v in values):
        raise TypeError(f"stride={stride!r} {shape}: {_ALLOWED}")
    if len(values) != 2 or not all(0 < value < math.inf for value in values):
        raise ValueError(f"stride={stride!r} {shape}: {_ALLOWED}")
    return torch.tensor([float(value) for value in values], dtype=computed_in(x.dtype), device=x.device)


def _check_size(size: Pair, x: Tensor) -> Pair:
    allowed = f"for x of shape {tuple(x.shape)}: expected (H_out, W_out), two integers of at least 1"
    if not isinstance(size, (tuple, list)) or not all(isinstance(n, (int, torch.SymInt)) for n in size):
        raise TypeError(f"size={size!r} {allowed}")
    if len(size) != 2 or size[0] < 1 or size[1] < 1:
        raise ValueError(f"size={size!r} {allowed}")
    return size[0], size[1]
