"""The operator and the modules that resize to learned sizes, independent of any model."""

from .dynopool import DynOPool, DynOPool2d
from .fixed import FixedInterpolate2d, FixedPool2d, FixedStrides2d, FollowInterpolate2d, FollowPool2d, is_recorded
from .functional import Reduce, check_reduce, dynopool1d, dynopool2d, dynopool3d
from .host_values import as_pair, gathered, number_pair
from .kernels.layout import memory_format
from .learned_alpha import constrain_resizers, host_alphas, is_own, set_alpha, usable_alphas
from .learned_resizer import Chain, LearnedResizer2d, learned_resizers
from .library import triton_problem

__all__ = [
    "Chain", "DynOPool", "DynOPool2d", "FixedInterpolate2d", "FixedPool2d", "FixedStrides2d", "FollowInterpolate2d",
    "FollowPool2d", "LearnedResizer2d", "Reduce", "as_pair", "check_reduce", "constrain_resizers", "dynopool1d", "dynopool2d", "dynopool3d",
    "gathered", "host_alphas", "is_own", "is_recorded", "learned_resizers", "memory_format", "number_pair",
    "set_alpha", "triton_problem", "usable_alphas",
]  # fmt: skip
