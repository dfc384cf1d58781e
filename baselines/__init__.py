"""What DynOPool is compared with: other learned resizers through its interface x, size -> y, and static refinement."""

from .diffstride import DiffStride2d, FixedDiffStride2d, diffstride2d
from .every import EveryFewSteps, alpha_optimizer
from .published_edits import PublishedEdit, published_edits
from .refinement_plan import Edit, RefinementPlan
from .shape_adaptor import ShapeAdaptor2d
from .shape_adaptor_mixture import FixedShapeAdaptor2d, shape_adaptor2d
from .shape_adaptor_network import shape_adaptor_network
from .shape_adaptor_sizes import initial_alpha
from .spectral_pool import FixedSpectralPooling2d
from .static_refinement import refine

__all__ = [
    "DiffStride2d",
    "Edit",
    "EveryFewSteps",
    "FixedDiffStride2d",
    "FixedShapeAdaptor2d",
    "FixedSpectralPooling2d",
    "PublishedEdit",
    "RefinementPlan",
    "ShapeAdaptor2d",
    "alpha_optimizer",
    "diffstride2d",
    "initial_alpha",
    "published_edits",
    "refine",
    "shape_adaptor2d",
    "shape_adaptor_network",
]
