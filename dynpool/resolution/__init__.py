"""The sizes of a model while it runs: the tree of resolutions, its alphas, and what users set and read of it."""

from .attached import GiveSize, attach_tree, detach_tree
from .description import PACKAGES, attach_description, dotted, without_module
from .frozen import FrozenSizes, TakeStride, attach_frozen, detach_frozen, frozen_sizes
from .learned_sizes import Resolution, checked_sizes, constrain, parameter_groups, resolutions, set_tree_sizes
from .nodes import Derived, Learned, Pinned, ResolutionNode, Slot, bounds_around
from .saved_alphas import ENTRY, FROZEN_ALPHAS
from .stride_forms import (
    FittingConvTranspose1d,
    FittingConvTranspose2d,
    FittingConvTranspose3d,
    ResizeAfter,
    Strided,
    WindowPool,
    align,
    fit_output,
    open_to_fx,
    resize_before,
    set_native,
    stride_one,
)
from .tree import ResolutionTree, converted_model, is_converted, resolution_tree
from .wrappers import check_unwrapped, contained, only_module, unwrapped, weights_outside, without_sharding

__all__ = [
    "ENTRY",
    "FROZEN_ALPHAS",
    "PACKAGES",
    "Derived",
    "FittingConvTranspose1d",
    "FittingConvTranspose2d",
    "FittingConvTranspose3d",
    "FrozenSizes",
    "GiveSize",
    "Learned",
    "Pinned",
    "ResizeAfter",
    "Resolution",
    "ResolutionNode",
    "ResolutionTree",
    "Slot",
    "Strided",
    "TakeStride",
    "WindowPool",
    "align",
    "attach_description",
    "attach_frozen",
    "attach_tree",
    "bounds_around",
    "check_unwrapped",
    "checked_sizes",
    "constrain",
    "contained",
    "converted_model",
    "detach_frozen",
    "detach_tree",
    "dotted",
    "fit_output",
    "frozen_sizes",
    "is_converted",
    "only_module",
    "open_to_fx",
    "parameter_groups",
    "resize_before",
    "resolution_tree",
    "resolutions",
    "set_native",
    "set_tree_sizes",
    "stride_one",
    "unwrapped",
    "weights_outside",
    "without_module",
    "without_sharding",
]  # fmt: skip
