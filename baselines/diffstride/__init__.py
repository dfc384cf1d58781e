"""DiffStride: pooling in the frequency domain with learned strides (Riad et al., ICLR 2022)."""

from .fixed_strides import FixedSpectralPooling2d
from .function import FixedDiffStride2d, diffstride2d
from .resizer import DiffStride2d

__all__ = ["DiffStride2d", "FixedDiffStride2d", "FixedSpectralPooling2d", "diffstride2d"]
