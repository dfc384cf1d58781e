"""What DynOPool is compared with: other learned resizers through its interface x, size -> y."""

from .diffstride import DiffStride2d, FixedDiffStride2d, diffstride2d
from .every import EveryFewSteps, alpha_optimizer
from .shape_adaptor import FixedShapeAdaptor2d, ShapeAdaptor2d, shape_adaptor2d
from .shape_adaptor_network import shape_adaptor_network
from .shape_adaptor_sizes import initial_alpha
from .spectral_pool import FixedSpectralPooling2d

__all__ = [
    "DiffStride2d",
    "EveryFewSteps",
    "FixedDiffStride2d",
    "FixedShapeAdaptor2d",
    "FixedSpectralPooling2d",
    "ShapeAdaptor2d",
    "alpha_optimizer",
    "diffstride2d",
    "initial_alpha",
    "shape_adaptor2d",
    "shape_adaptor_network",
]
