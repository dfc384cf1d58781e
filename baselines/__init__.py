"""What DynOPool is compared with: other learned resizers through its interface x, size -> y, and static refinement."""

from typing import TYPE_CHECKING

from dynpool.lazy import lazy_package

if TYPE_CHECKING:
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

lazy_package(
    __name__,
    {
        "diffstride": "DiffStride2d FixedDiffStride2d diffstride2d",
        "every": "EveryFewSteps alpha_optimizer",
        "published_edits": "PublishedEdit published_edits",
        "refinement_plan": "Edit RefinementPlan",
        "shape_adaptor": "ShapeAdaptor2d",
        "shape_adaptor_mixture": "FixedShapeAdaptor2d shape_adaptor2d",
        "shape_adaptor_network": "shape_adaptor_network",
        "shape_adaptor_sizes": "initial_alpha",
        "spectral_pool": "FixedSpectralPooling2d",
        "static_refinement": "refine",
    },
)
