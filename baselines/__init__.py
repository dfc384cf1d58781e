"""The methods that DynOPool is compared with: other learned resizers with the same interface, and static refinement."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names
from dynpool.common.short_names import shorten

if TYPE_CHECKING:
    from dynpool.baselines.diffstride.fixed_strides import FixedSpectralPooling2d
    from dynpool.baselines.diffstride.resizer import DiffStride2d, FixedDiffStride2d, diffstride2d
    from dynpool.baselines.refinement.api import refine
    from dynpool.baselines.refinement.plan import Edit, RefinementPlan
    from dynpool.baselines.refinement.published import PublishedEdit, published_edits
    from dynpool.baselines.shape_adaptor.alternating import EveryFewSteps, alpha_optimizer
    from dynpool.baselines.shape_adaptor.mixture import FixedShapeAdaptor2d, shape_adaptor2d
    from dynpool.baselines.shape_adaptor.networks import shape_adaptor_network
    from dynpool.baselines.shape_adaptor.resizer import ShapeAdaptor2d
    from dynpool.baselines.shape_adaptor.size_math import initial_alpha

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

if __name__ == "baselines":  # the short name
    shorten(__name__)
elif not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "diffstride.resizer": "DiffStride2d FixedDiffStride2d diffstride2d",
            "shape_adaptor.alternating": "EveryFewSteps alpha_optimizer",
            "refinement.published": "PublishedEdit published_edits",
            "refinement.plan": "Edit RefinementPlan",
            "shape_adaptor.resizer": "ShapeAdaptor2d",
            "shape_adaptor.mixture": "FixedShapeAdaptor2d shape_adaptor2d",
            "shape_adaptor.networks": "shape_adaptor_network",
            "shape_adaptor.size_math": "initial_alpha",
            "diffstride.fixed_strides": "FixedSpectralPooling2d",
            "refinement.api": "refine",
        },
    )
