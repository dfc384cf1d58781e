"""What DynOPool is compared with, each usable on its own through the resizer's interface x, size -> y."""

from .diffstride import DiffStride2d, FixedDiffStride2d, diffstride2d
from .shape_adaptor import FixedShapeAdaptor2d, ShapeAdaptor2d, shape_adaptor2d
from .spectral_pool import FixedSpectralPooling2d

__all__ = [
    "DiffStride2d",
    "FixedDiffStride2d",
    "FixedShapeAdaptor2d",
    "FixedSpectralPooling2d",
    "ShapeAdaptor2d",
    "diffstride2d",
    "shape_adaptor2d",
]
