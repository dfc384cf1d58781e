"""DiffStride as a function, and as a module with fixed strides and a fixed size (Riad et al., ICLR 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_flags, check_size, is_number, is_whole
from dynpool.resizers import number_pair
from dynpool.size_math import Pair, Size, pair

from .size_math import check_smoothness, diffstride_size, least_strides
from .spectral import (
    Norm,
    check_map,
    check_norm,
    check_published,
    compute_dtype,
    match_format,
    spectral_resize,
    symmetric_resize,
)

__all__ = ["FixedDiffStride2d", "diffstride2d", "uncropped_size"]


def diffstride2d(
    x: Tensor,
    stride: Tensor | float | Sequence[float],
    *,
    smoothness: float = 4.0,
    symmetric: bool = False,
    cropping: bool = True,
    norm: Norm = "backward",
    published: bool = False,
    size: Size | None = None,
) -> Tensor:
    """The feature map x without its high frequencies, cropped by a differentiable stride (Riad et al., ICLR 2022).

    The spectrum of x is multiplied by a trapezoid per axis, cropped to where it is positive, and transformed back. The
    gain of a frequency at distance d is ``clip(1 + (t - d) / R, 0, 1)``, where R is the smoothness and, with s the
    stride of the axis,

        t = max(H / s, 2) / 2 on rows,    t = max(W / s, 2) / 2 + 1 on columns.

    Column m has d = m. Row +m has d = m (for odd H: min(m + 1, (H - 1) / 2)) and row -m has d = m - 1. This is the
    published window, which is not symmetric in +-frequency; the imaginary part that results is dropped. With
    ``symmetric`` +m and -m have d = m on both axes, and columns have the t of the rows. The result is then exactly
    real, and transposing x transposes it.

    The stride is clipped below at ``max(1, n / (n - R))`` on an axis of n pixels (1 where R >= n), with a
    straight-through gradient. The gradient to the stride flows only through the gains, in full at both ends of the
    clip; it is zero where the 2 in t is the maximum.

    Args:
        x: (N, C, H, W) or (C, H, W), float16, bfloat16 (both computed in float32), float32 or float64.
        stride: input pixels per output pixel, finite and positive: a tensor of two values (rows, columns) or one, a
            float, or a pair of floats.
        smoothness: R, the width of the ramp in frequencies; finite and positive.
        symmetric: give frequencies +m and -m the same gain.
        cropping: False keeps the size of x and only removes frequencies.
        norm: normalisation of the transforms, as in torch.fft. "backward", as published, multiplies the mean of a map
            by ``H * W / (H_out * W_out)``, which jumps with the size; "ortho" keeps the energy (the sum of squares) of
            the kept frequencies, "forward" their amplitude.
        published: as the authors' code: one stride for both axes is clipped below at the larger of their bounds, the
            bound is infinite where n = R, and without cropping an odd width loses a column.
        size: (H_out, W_out) in pixels. Default: :func:`.size_math.diffstride_size`, which reads the stride on the host.
            Another size crops further or pads the spectrum with zeros; the gains do not change.

    Returns:
        (N, C, H_out, W_out) or (C, H_out, W_out), dtype and memory format of x.

    Raises:
        TypeError: if x or stride has a wrong type.
        ValueError: if a shape, a value, a name or a device is out of range, or ``published`` meets ``symmetric`` or
            another norm than "backward".

    >>> diffstride2d(torch.ones(1, 1, 32, 32), 2.0).shape, diffstride2d(torch.ones(1, 1, 32, 32), 2.0)[0, 0, 0, 0]
    (torch.Size([1, 1, 24, 24]), tensor(1.7778))
    """
    check_map(x)
    check_norm(norm)
    check_smoothness(smoothness)
    check_flags(symmetric=symmetric, cropping=cropping)
    check_published(published, norm=norm, symmetric=symmetric)
    strides = _check_stride(stride, x)
    shared = published and (stride.numel() == 1 if isinstance(stride, Tensor) else is_number(stride))
    if size is None:
        size = (x.shape[-2], x.shape[-1])
        size = (
            _own_size(size, strides, smoothness, symmetric, shared, published)
            if cropping
            else uncropped_size(size, published)
        )
    least = least_strides((x.shape[-2], x.shape[-1]), smoothness, shared=shared, published=published)
    return _diffstride2d(x, strides, least, smoothness, symmetric, norm, _check_size(size, x))


class FixedDiffStride2d(nn.Module):
    """:func:`diffstride2d` at fixed strides and one output size: what :func:`dynpool.freeze` leaves of `DiffStride2d`.

    Shape: (N, C, H, W) or (C, H, W) to the same with ``size``.

    Args:
        stride: input pixels per output pixel, one number or (height, width).
        size: (height, width) of the output in pixels.
        smoothness, symmetric, norm, published: as in :func:`diffstride2d`.

    Raises:
        TypeError: if an argument is of a wrong type.
        ValueError: if a stride or smoothness is not finite and positive, a size is below 1, norm is unknown, or
            ``published`` meets ``symmetric`` or another norm than "backward".
    """

    def __init__(
        self,
        stride: float | Pair,
        size: Size,
        *,
        smoothness: float = 4.0,
        symmetric: bool = False,
        norm: Norm = "backward",
        published: bool = False,
    ) -> None:
        super().__init__()
        check_smoothness(smoothness)
        check_norm(norm)
        check_published(published, norm=norm, symmetric=symmetric)
        self.stride = number_pair(stride, f"stride={stride!r}: {_ALLOWED}")
        if min(self.stride) <= 0:
            raise ValueError(f"stride={stride!r}: {_ALLOWED}")
        self.size: Size = check_size("size", size)
        self.shared = is_number(stride)
        self.smoothness, self.symmetric, self.published = smoothness, symmetric, published
        self.norm: Norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return diffstride2d(
            x,
            self.stride[0] if self.shared else self.stride,
            smoothness=self.smoothness,
            symmetric=self.symmetric,
            norm=self.norm,
            published=self.published,
            size=self.size,
        )

    def extra_repr(self) -> str:
        """The strides, the size and the options, as shown by print."""
        marks = "".join(f", {name}" for name in ("symmetric", "published") if getattr(self, name))
        return (
            f"stride=({self.stride[0]:.4g}, {self.stride[1]:.4g}), size={self.size}, "
            f"smoothness={self.smoothness:g}, norm={self.norm!r}{marks}"
        )


# ------------------------------------------------------------------------------------------------ gains of frequencies


@torch.compiler.disable  # a graph break: PyTorch's FFTs cannot take data-dependent sizes
def _own_size(size: Size, strides: Tensor, smoothness: float, symmetric: bool, shared: bool, published: bool) -> Size:
    rows, columns = strides.detach().tolist()
    return diffstride_size(size, (rows, columns), smoothness, symmetric=symmetric, shared=shared, published=published)


def uncropped_size(size: Size, published: bool) -> Size:
    """The size without cropping: as published, the inverse transform makes an odd width even."""
    return (size[0], max(size[1] // 2 * 2, 1)) if published else size


def _diffstride2d(
    x: Tensor, strides: Tensor, least: Pair, smoothness: float, symmetric: bool, norm: Norm, size: Size
) -> Tensor:
    """:func:`diffstride2d` without validation."""
    dtype = compute_dtype(x.dtype)
    height, width = x.shape[-2:]
    thresholds = [
        _threshold(n, stride, bound) for n, stride, bound in zip((height, width), strides.to(dtype), least, strict=True)
    ]
    columns = torch.arange(width // 2 + 1, dtype=dtype, device=x.device)
    if symmetric:
        rows = torch.arange(height // 2 + 1, dtype=dtype, device=x.device)
    else:
        rows = row_distances(height, dtype=dtype, device=x.device)
        thresholds[1] = thresholds[1] + 1
    gains = _gain(rows, thresholds[0], smoothness), _gain(columns, thresholds[1], smoothness)
    resize = symmetric_resize if symmetric else spectral_resize
    return match_format(resize(x.to(dtype), pair(size), gains, norm), x)


def row_distances(n: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Distance d of each of the n rows of a spectrum in FFT order: 0, 1, ... and ..., 1, 0 (odd n: 1, 2, ... first)."""
    first = torch.arange((n + 1) // 2, dtype=dtype, device=device)
    if n % 2:
        first = (first + 1).clamp(max=(n - 1) // 2)
    return torch.cat([first, torch.arange(n // 2, dtype=dtype, device=device).flip(0)])


def _threshold(n: int, stride: Tensor, least: float) -> Tensor:
    """The distance t up to which the gain is 1: max(n / s, 2) / 2."""
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
    """The stride as a tensor (rows, columns). Values of a tensor are not checked, as that would synchronise."""
    shape = f"for x of shape {tuple(x.shape)}"
    if isinstance(stride, Tensor):
        if not stride.dtype.is_floating_point:
            raise TypeError(f"stride has dtype {stride.dtype} {shape}: expected a floating-point tensor")
        if stride.shape not in ((), (1,), (2,)):
            raise ValueError(f"stride has shape {tuple(stride.shape)} {shape}: expected (2,), (1,) or ()")
        if stride.device != x.device:
            raise ValueError(f"stride is on {stride.device} {shape} on {x.device}: expected the same device")
        return stride.expand(2)
    values = [stride, stride] if isinstance(stride, (int, float, Real)) else stride
    if not isinstance(values, (tuple, list)) or not all(map(is_number, values)):
        raise TypeError(f"stride={stride!r} {shape}: {_ALLOWED}")
    if len(values) != 2 or not all(0 < value < math.inf for value in values):
        raise ValueError(f"stride={stride!r} {shape}: {_ALLOWED}")
    return torch.tensor([float(value) for value in values], dtype=compute_dtype(x.dtype), device=x.device)


def _check_size(size: Size, x: Tensor) -> Size:
    allowed = f"for x of shape {tuple(x.shape)}: expected (H_out, W_out), two integers of at least 1"
    if not isinstance(size, (tuple, list)) or not all(map(is_whole, size)):
        raise TypeError(f"size={size!r} {allowed}")
    if len(size) != 2 or size[0] < 1 or size[1] < 1:
        raise ValueError(f"size={size!r} {allowed}")
    return size[0], size[1]
