"""What DynOPool is compared with, each usable on its own through the resizer's interface x, size -> y."""

from .spectral_pool import FixedSpectralPooling2d

__all__ = ["FixedSpectralPooling2d"]
