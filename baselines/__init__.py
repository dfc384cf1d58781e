"""The methods that DynOPool is compared with: learned resizers and kernels, and static refinement."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names
from dynpool.common.short_names import shorten

if TYPE_CHECKING:
    from dynpool.baselines.diffstride import DiffStride2d, FixedDiffStride2d, FixedSpectralPooling2d, diffstride2d
    from dynpool.baselines.flexconv import FlexConv2d, antialiasing_loss, flexconv_network
    from dynpool.baselines.njet import NJetConv2d, njet_kernel, njet_network
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
    "FlexConv2d",
    "NJetConv2d",
    "PublishedEdit",
    "RefinementPlan",
    "ShapeAdaptor2d",
    "alpha_optimizer",
    "antialiasing_loss",
    "diffstride2d",
    "flexconv_network",
    "initial_alpha",
    "njet_kernel",
    "njet_network",
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
            "flexconv": "FlexConv2d antialiasing_loss flexconv_network",
            "njet": "NJetConv2d njet_kernel njet_network",
            "refinement": "Edit PublishedEdit RefinementPlan published_edits refine",
            "shape_adaptor": "EveryFewSteps FixedShapeAdaptor2d ShapeAdaptor2d alpha_optimizer initial_alpha "
            "shape_adaptor2d shape_adaptor_network",
        },
    )
