"""Shape Adaptor: a learned mixture of a downsampled and a full-resolution branch (Liu et al., ECCV 2020)."""

from .alternating import EveryFewSteps, alpha_optimizer
from .mixture import FixedShapeAdaptor2d, shape_adaptor2d
from .networks import shape_adaptor_network
from .resizer import ShapeAdaptor2d
from .size_math import initial_alpha

__all__ = [
    "EveryFewSteps", "FixedShapeAdaptor2d", "ShapeAdaptor2d", "alpha_optimizer", "initial_alpha", "shape_adaptor2d",
    "shape_adaptor_network",
]  # fmt: skip
