"""Spectral resizing of feature maps: multiply each frequency by a gain, keep the low ones, transform back.

The axes are transformed one after the other, so frequencies cropped along one axis are not transformed along the other.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from dynpool.common.arguments import check_flags

from .size_math import row_window

__all__ = [
    "Norm", "check_map", "check_norm", "check_published", "compute_dtype", "match_format", "spectral_resize",
    "symmetric_resize",
]  # fmt: skip

Norm = Literal["backward", "ortho", "forward"]

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def spectral_resize(x: Tensor, size: tuple[int, int], gains: tuple[Tensor, Tensor] | None, norm: Norm) -> Tensor:
    """The map of ``size`` whose spectrum is the low frequencies of x, each times the gains of its row and column.

    The row window is that of :func:`.size_math.row_window`, which is not symmetric in +-frequency. The inverse is a
    complex transform over rows, then a real one over columns, which ignores the imaginary part of the first and (for
    an even width) the last column; a direct two-dimensional inverse ignores it differently on different back ends.

    Args:
        x: (..., H, W), real, float32 or float64.
        size: (height, width) in pixels. If it is larger than that of x, the higher frequencies are zero.
        gains: for the H rows in FFT order, and for the W // 2 + 1 columns; None: all are 1.
        norm: normalisation of the transforms, as in torch.fft.

    Returns:
        (..., height, width), dtype of x.
    """
    if x.numel() == 0:
        return _resized_empty(x, size, gains)
    (n_rows, n_columns), (height, width) = x.shape[-2:], size
    spectrum = torch.fft.rfft(x, dim=-1, norm=norm)
    if gains is not None:
        spectrum = spectrum * gains[1]
    if width > n_columns:  # the highest frequency is split equally between + and -
        spectrum = _weigh_highest(spectrum, n_columns, 0.5)
    spectrum = spectrum[..., : width // 2 + 1]
    spectrum = torch.fft.fft(spectrum, dim=-2, norm=norm)
    if gains is not None:
        spectrum = spectrum * gains[0][:, None]
    first, last = row_window(n_rows, min(height, n_rows))
    rows = [spectrum.narrow(-2, 0, first), spectrum.narrow(-2, n_rows - last, last)]
    if height > n_rows:
        rows.insert(1, spectrum.new_zeros((*spectrum.shape[:-2], height - n_rows, spectrum.shape[-1])))
    spectrum = torch.fft.ifft(torch.cat(rows, dim=-2), dim=-2, norm=norm)
    return torch.fft.irfft(spectrum, n=width, dim=-1, norm=norm)


def symmetric_resize(x: Tensor, size: tuple[int, int], gains: tuple[Tensor, Tensor] | None, norm: Norm) -> Tensor:
    """:func:`spectral_resize` with the same gain for the frequencies +m and -m, and the same rule along both axes.

    Along each axis it samples the trigonometric interpolant of the map, with each frequency multiplied by its gain. The
    highest frequency of an even number of pixels is split equally between + and -, and an even number of samples adds
    the two: nothing is dropped.

    Args:
        gains: for the distances 0 ... H // 2 and 0 ... W // 2.
    """
    if x.numel() == 0:
        return _resized_empty(x, size, gains)
    height, width = gains or (None, None)
    return _resize_axis(_resize_axis(x, size[1], width, -1, norm), size[0], height, -2, norm)


def _resized_empty(x: Tensor, size: tuple[int, int], gains: tuple[Tensor, Tensor] | None) -> Tensor:
    """An empty tensor of the output shape with zero gradients; some FFT libraries reject empty input."""
    y = x[..., :1, :1].expand(*x.shape[:-2], *size)
    return y if gains is None else y * (gains[0].sum() * gains[1].sum())


def _resize_axis(x: Tensor, out: int, gain: Tensor | None, dim: int, norm: Norm) -> Tensor:
    n = x.shape[dim]
    x = x.movedim(dim, -1)
    spectrum = torch.fft.rfft(x, dim=-1, norm=norm)
    if gain is not None:
        spectrum = spectrum * gain
    if out != n:
        spectrum = _weigh_highest(spectrum, n, 0.5)
        spectrum = _weigh_highest(spectrum[..., : out // 2 + 1], out, 2.0)
    return torch.fft.irfft(spectrum, n=out, dim=-1, norm=norm).movedim(-1, dim)


def _weigh_highest(spectrum: Tensor, n: int, weight: float) -> Tensor:
    """The half spectrum of n pixels with its frequency n / 2, if it has one, multiplied by ``weight``."""
    if n % 2 or spectrum.shape[-1] <= n // 2:
        return spectrum
    return torch.cat([spectrum[..., :-1], spectrum[..., -1:] * weight], dim=-1)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the transforms: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def match_format(y: Tensor, x: Tensor) -> Tensor:
    """y in the dtype and the memory format of x."""
    channels_last = x.dim() == 4 and x.shape[1] > 1 and not x.is_contiguous() and x.stride(1) == 1
    return y.to(x.dtype).contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def check_map(x: Tensor) -> None:
    """Raise unless x is a floating-point feature map (N, C, H, W) or (C, H, W) with at least one pixel per axis.

    Raises:
        TypeError: if x is not a tensor or has another dtype.
        ValueError: if it has another shape.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}: expected a tensor (N, C, H, W) or (C, H, W)")
    if x.dtype not in _DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise TypeError(f"x of shape {tuple(x.shape)} has dtype {x.dtype}: expected one of {names}")
    if x.dim() not in (3, 4):
        raise ValueError(f"x has shape {tuple(x.shape)}: expected (N, C, H, W) or (C, H, W)")
    if x.shape[-2] < 1 or x.shape[-1] < 1:
        raise ValueError(f"x has shape {tuple(x.shape)}: expected at least 1 pixel along height and width")


def check_norm(norm: str) -> None:
    """Raise ValueError unless ``norm`` names a normalisation of torch.fft."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm={norm!r}: expected one of {', '.join(map(repr, get_args(Norm)))}")


def check_published(published: bool, *, norm: Norm, symmetric: bool = False) -> None:
    """Raise unless ``published`` is a bool and, if True, the other options are those of the authors' code.

    Raises:
        TypeError: if ``published`` is not a bool.
        ValueError: if another option contradicts it.
    """
    check_flags(published=published, symmetric=symmetric)
    if published and symmetric:
        raise ValueError("symmetric=True: expected False with published=True, as the published window is not symmetric")
    if published and norm != "backward":
        raise ValueError(f"norm={norm!r}: expected 'backward' with published=True, the only one that is published")
