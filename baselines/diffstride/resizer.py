"""DiffStride: pooling in the frequency domain with learned strides (Riad et al., ICLR 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_flags, check_size, is_number, is_whole
from dynpool.resizers import LearnedResizer2d, Reduce, check_reduce, host_alphas, number_pair
from dynpool.size_math import Pair, Size

from .size_math import check_smoothness, diffstride_size, diffstride_stride, least_stride
from .spectral import Norm, check_map, check_norm, compute_dtype, match_format, spectral_resize, symmetric_resize

__all__ = ["DiffStride2d", "FixedDiffStride2d", "diffstride2d"]


def diffstride2d(
    x: Tensor,
    stride: Tensor | float | Sequence[float],
    *,
    smoothness: float = 4.0,
    symmetric: bool = False,
    cropping: bool = True,
    norm: Norm = "backward",
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
        size: (H_out, W_out) in pixels. Default: :func:`.size_math.diffstride_size`, which reads the stride on the host.
            Another size crops further or pads the spectrum with zeros; the gains do not change.

    Returns:
        (N, C, H_out, W_out) or (C, H_out, W_out), dtype and memory format of x.

    Raises:
        TypeError: if x or stride has a wrong type.
        ValueError: if a shape, a value, a name or a device is out of range.

    >>> diffstride2d(torch.ones(1, 1, 32, 32), 2.0).shape, diffstride2d(torch.ones(1, 1, 32, 32), 2.0)[0, 0, 0, 0]
    (torch.Size([1, 1, 24, 24]), tensor(1.7778))
    """
    check_map(x)
    check_norm(norm)
    check_smoothness(smoothness)
    check_flags(symmetric=symmetric, cropping=cropping)
    strides = _check_stride(stride, x)
    if size is None:
        size = (x.shape[-2], x.shape[-1])
        if cropping:
            size = _own_size(size, strides, smoothness, symmetric)
    return _diffstride2d(x, strides, smoothness, symmetric, norm, _check_size(size, x))


class DiffStride2d(LearnedResizer2d):
    """Spectral pooling with a learned stride per axis (Riad et al., ICLR 2022); see :func:`diffstride2d`.

    Shape: (N, C, H, W) or (C, H, W) to the same with (H_out, W_out). On its own it resizes a map to
    :func:`.size_math.diffstride_size`: 32 pixels to 24 at stride 2. :func:`dynpool.convert` starts it at the strides of
    the layers it replaces, as published. Maps are then larger than those of the original layers, as the ramp of the
    gain adds R frequencies on either side; a map of up to 2R + 2 pixels is not cropped at all. Its receptive field is
    the whole axis. It keeps low frequencies whatever the replaced layer did, so ``preserve=True`` has no effect.

    Args:
        alpha: initial stride in input pixels per output pixel, one number or (height, width). Learned as the float32
            parameter ``alpha`` of shape (2,). Values below 1 count as 1, with the gradient passed straight through.
        smoothness: R, the width of the ramp of the gain, in frequencies.
        shared: learn one stride for both axes, the first entry of ``alpha``. A pair is replaced by its geometric mean.
        symmetric: give frequencies +m and -m the same gain; it has another rule for sizes: 32 pixels to 23 at stride 2.
        cropping: False keeps the size and only removes frequencies.
        norm: normalisation of the transforms: "backward" (published), "ortho" (keeps the energy) or "forward" (keeps
            the amplitude).
        reduce: "max", "mean" or "sample"; ignored, as :func:`dynpool.convert` passes it to every resizer.
        bounds: lowest and highest scale factor (1 / stride) per axis. Ignored if ``tied_to`` is given.
        tied_to: another DiffStride2d whose alpha, ``shared`` and bounds this one uses; it is not registered as a child.

    Raises:
        TypeError: if alpha is not one or two numbers, or ``tied_to`` is not a DiffStride2d.
        ValueError: if alpha is outside the bounds, or another argument is out of range.

    >>> pool = DiffStride2d((2.0, 3.0))
    >>> pool(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 8, 24, 20])
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 2.0,
        *,
        smoothness: float = 4.0,
        shared: bool = False,
        symmetric: bool = False,
        cropping: bool = True,
        norm: Norm = "backward",
        reduce: Reduce = "max",
        bounds: Pair = (1 / 8, 1.0),
        tied_to: DiffStride2d | None = None,
    ) -> None:
        check_smoothness(smoothness)
        check_norm(norm)
        check_reduce(reduce)
        check_flags(shared=shared, symmetric=symmetric, cropping=cropping)
        self.shared = shared  # before super().__init__, whose check of alpha reads it
        super().__init__(alpha, bounds=bounds, tied_to=tied_to)
        self.shared = self.root().shared
        self.smoothness, self.symmetric, self.cropping = float(smoothness), symmetric, cropping
        self.norm: Norm = norm
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor, size: Size | None = None) -> Tensor:
        """x resized to ``size`` (H_out, W_out); by default the size that alpha gives."""
        check_map(x)
        return diffstride2d(
            x,
            self.learned_strides(self.shared_alpha()),
            smoothness=self.smoothness,
            symmetric=self.symmetric,
            norm=self.norm,
            size=self.own_size(x) if size is None else size,
        )

    @torch.compiler.disable  # as for the function
    def own_size(self, x: Tensor) -> Size:
        """(H_out, W_out) that alpha gives for x, after alpha has been brought into its bounds."""
        return super().own_size(x)

    def output_size(self, size: Pair, strides: Pair) -> Size:
        """:func:`dynpool.baselines.diffstride.size_math.diffstride_size`, or ``size`` itself without cropping."""
        pixels = int(size[0]), int(size[1])
        return diffstride_size(pixels, strides, self.smoothness, symmetric=self.symmetric) if self.cropping else pixels

    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        """Infinity: every frequency depends on the whole axis."""
        return math.inf, math.inf

    def frozen(self, size: Size) -> FixedDiffStride2d:
        """This module with fixed strides and a fixed size."""
        strides = self.strides(host_alphas([self])[0])
        return FixedDiffStride2d(strides, size, smoothness=self.smoothness, symmetric=self.symmetric, norm=self.norm)

    def strides(self, values: Pair) -> Pair:
        """The strides in use: alpha clipped below at 1, or its first entry for both axes if they share one."""
        height, width = (max(value, 1.0) for value in values)
        return (height, height) if self.shared else (height, width)

    def learned_strides(self, alpha: Tensor) -> Tensor:
        """:meth:`strides` as a tensor, with a straight-through gradient to alpha at the lower bound."""
        alpha = alpha[:1].expand(2) if self.shared else alpha
        return torch.where(alpha < 1, 1 + (alpha - alpha.detach()), alpha)

    def values_for(self, size_in: Pair, size_out: Size) -> Pair:
        """Strides that resize a map of ``size_in`` (height, width) pixels to ``size_out``.

        Raises:
            ValueError: if there are none: rows come in pairs, and at least about 2R of them remain.
        """
        pixels = int(size_in[0]), int(size_in[1])
        height, width = (diffstride_stride(n, out, self.smoothness) for n, out in zip(pixels, size_out, strict=True))
        tried = [(height, height), (width, width)] if self.shared else [(height, width)]
        found = {self.output_size(pixels, strides): strides for strides in tried}
        if (size_out[0], size_out[1]) not in found:
            raise ValueError(
                f"size={tuple(size_out)} cannot be reached from {pixels} by DiffStride with {self._options()}: "
                f"the nearest size is {' or '.join(map(str, found))}"
            )
        return found[size_out[0], size_out[1]]

    def checked(self, values: float | Sequence[float]) -> Pair:
        """The given strides as float32 numbers within the bounds; their geometric mean for axes that share one."""
        height, width = super().checked(values)
        return super().checked(math.sqrt(height * width)) if self.shared and height != width else (height, width)

    def project(self, values: Pair, previous: Pair, trust: float | None) -> Pair:
        """The admissible values nearest to ``values``; of a shared stride, the second entry follows the first."""
        height, width = super().project(values, previous, trust)
        return (height, height) if self.shared else (height, width)

    def extra_repr(self) -> str:
        """Alpha, the options and the bounds, as shown by print."""
        alpha = self.shared_alpha()
        values = ", ".join(f"{value:.4g}" for value in alpha.tolist()) if not alpha.is_meta else "meta"
        tied = ", tied" if self._tied else ""
        return f"alpha=({values}), {self._options()}, bounds=({self.bounds[0]:g}, {self.bounds[1]:g}){tied}"

    def _options(self) -> str:
        options = [f"smoothness={self.smoothness:g}", f"norm={self.norm!r}"]
        options += [name for name in ("shared", "symmetric") if getattr(self, name)]
        return ", ".join([*options, *([] if self.cropping else ["cropping=False"])])


class FixedDiffStride2d(nn.Module):
    """:func:`diffstride2d` at fixed strides and one output size: what :func:`dynpool.freeze` leaves of `DiffStride2d`.

    Shape: (N, C, H, W) or (C, H, W) to the same with ``size``.

    Args:
        stride: input pixels per output pixel, one number or (height, width).
        size: (height, width) of the output in pixels.
        smoothness, symmetric, norm: as in :func:`diffstride2d`.

    Raises:
        TypeError: if an argument is of a wrong type.
        ValueError: if a stride or smoothness is not finite and positive, a size is below 1, or norm is unknown.
    """

    def __init__(
        self,
        stride: float | Pair,
        size: Size,
        *,
        smoothness: float = 4.0,
        symmetric: bool = False,
        norm: Norm = "backward",
    ) -> None:
        super().__init__()
        check_smoothness(smoothness)
        check_norm(norm)
        check_flags(symmetric=symmetric)
        self.stride = number_pair(stride, f"stride={stride!r}: {_ALLOWED}")
        if min(self.stride) <= 0:
            raise ValueError(f"stride={stride!r}: {_ALLOWED}")
        self.size: Size = check_size("size", size)
        self.smoothness, self.symmetric = smoothness, symmetric
        self.norm: Norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return diffstride2d(
            x, self.stride, smoothness=self.smoothness, symmetric=self.symmetric, norm=self.norm, size=self.size
        )

    def extra_repr(self) -> str:
        """The strides, the size and the options, as shown by print."""
        symmetric = ", symmetric" if self.symmetric else ""
        return (
            f"stride=({self.stride[0]:.4g}, {self.stride[1]:.4g}), size={self.size}, "
            f"smoothness={self.smoothness:g}, norm={self.norm!r}{symmetric}"
        )


# ------------------------------------------------------------------------------------------------ gains of frequencies


@torch.compiler.disable  # a graph break: PyTorch's FFTs cannot take data-dependent sizes
def _own_size(size: Size, strides: Tensor, smoothness: float, symmetric: bool) -> Size:
    rows, columns = strides.detach().tolist()
    return diffstride_size(size, (rows, columns), smoothness, symmetric=symmetric)


def _diffstride2d(x: Tensor, strides: Tensor, smoothness: float, symmetric: bool, norm: Norm, size: Size) -> Tensor:
    """:func:`diffstride2d` without validation."""
    dtype = compute_dtype(x.dtype)
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
    return match_format(resize(x.to(dtype), size, gains, norm), x)


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
