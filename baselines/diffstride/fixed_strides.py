"""Spectral pooling with fixed strides (Rippel et al., NeurIPS 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.common.arguments import is_number
from dynpool.size_math import pair

from .size_math import fixed_spectral_size
from .spectral import Norm, check_map, check_norm, check_published, compute_dtype, match_format, spectral_resize

__all__ = ["FixedSpectralPooling2d"]


class FixedSpectralPooling2d(nn.Module):
    """Spectral pooling with a fixed stride: keeps the low frequencies of a map at full gain and drops the others.

    The output has floor(H / s) rows, one less if that is odd, and floor(W / s) columns, each at least 2; an axis of one
    pixel stays as it is. This is the spectral pooling of Rippel et al., NeurIPS 2015, with which DiffStride (Riad et
    al., ICLR 2022) is compared. It keeps the rows 0 ... h / 2 - 1 and -h / 2 ... -1 and the columns 0 ... w // 2 of the
    spectrum.

    Shape: (N, C, H, W) or (C, H, W) to the same with (H_out, W_out); dtype and memory format of the input.

    Args:
        stride: input pixels per output pixel, one number or (height, width), at least 1.
        norm: normalisation of the transforms, as in torch.fft. "backward", as published, multiplies the mean of a map
            by ``H * W / (H_out * W_out)``; "ortho" keeps the energy of the kept frequencies, "forward" their amplitude.
        published: as DiffStride's code has it: an axis of one pixel becomes two pixels, a row x the rows x and 0, a
            column x two columns x / 2.

    Raises:
        TypeError: if stride is not one number or two.
        ValueError: if a stride is below 1 or not finite, or norm is unknown or not "backward" with ``published``.

    >>> import torch
    >>> FixedSpectralPooling2d((2, 3), norm="forward")(torch.ones(1, 1, 32, 32)).shape
    torch.Size([1, 1, 16, 10])
    """

    def __init__(
        self, stride: float | Sequence[float] = 2.0, *, norm: Norm = "backward", published: bool = False
    ) -> None:
        super().__init__()
        check_norm(norm)
        check_published(published, norm=norm)
        pair: object = (stride, stride) if is_number(stride) else stride
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(is_number, pair)):
            raise TypeError(f"stride={stride!r}: expected one or two (height, width) numbers of at least 1")
        self.stride = (float(pair[0]), float(pair[1]))
        self.norm: Norm = norm
        self.published = published
        fixed_spectral_size((1, 1), self.stride)  # raises for a bad stride

    def forward(self, x: Tensor) -> Tensor:
        check_map(x)
        size = fixed_spectral_size((x.shape[-2], x.shape[-1]), self.stride, published=self.published)
        rows = x.to(compute_dtype(x.dtype))
        if self.published and x.shape[-2] == 1:  # its row counts as that of frequency 0 and as that of -1
            rows = F.pad(rows, (0, 0, 0, 1))
        return match_format(spectral_resize(rows, pair(size), None, self.norm), x)

    def extra_repr(self) -> str:
        """The stride and the normalisation, as shown by print."""
        published = ", published" if self.published else ""
        return f"stride=({self.stride[0]:g}, {self.stride[1]:g}), norm={self.norm!r}{published}"
