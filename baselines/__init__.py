"""The methods that DynOPool is compared with: other learned resizers with the same interface, and static refinement."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names
from dynpool.common.short_names import shorten

if TYPE_CHECKING:
    from dynpool.baselines.diffstride import DiffStride2d, FixedDiffStride2d, FixedSpectralPooling2d, diffstride2d
    from dynpool.baselines.refinement import Edit, PublishedEdit, RefinementPlan, published_edits, refine
    from dynpool.baselines.shape_adaptor import (
        EveryFewSteps,
        FixedShapeAdaptor2d,
        ShapeAdaptor2d,
        alpha_optimizer,
        initial_alpha,
        shape_adaptor2d,
        shape_adaptor_network,
    )  # fmt: skip

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
            "diffstride": "DiffStride2d FixedDiffStride2d FixedSpectralPooling2d diffstride2d",
            "refinement": "Edit PublishedEdit RefinementPlan published_edits refine",
            "shape_adaptor": "EveryFewSteps FixedShapeAdaptor2d ShapeAdaptor2d alpha_optimizer initial_alpha "
            "shape_adaptor2d shape_adaptor_network",
        },
    )
