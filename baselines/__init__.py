"""What DynOPool is compared with, each usable on its own through the resizer's interface x, size -> y."""

from .diffstride import DiffStride2d, FixedDiffStride2d, diffstride2d
from .spectral_pool import FixedSpectralPooling2d

__all__ = ["DiffStride2d", "FixedDiffStride2d", "FixedSpectralPooling2d", "diffstride2d"]
