"""The operator and the modules that resize to learned sizes, independent of any model."""

from .dynopool import DynOPool, DynOPool1d, DynOPool2d, DynOPool3d, DynOPoolAxes, dynopool_class
from .fixed import (
    FixedPool,
    FixedPool1d,
    FixedPool2d,
    FixedPool3d,
    FixedStrides2d,
    fixed_pool_class,
    is_recorded,
)
from .following import FixedInterpolate, FollowInterpolate, FollowPool
from .functional import Reduce, check_reduce, dynopool1d, dynopool2d, dynopool3d
from .grown_convolution import padding_of
from .host_values import as_float32, as_pair, gathered, has_values, number_pair
from .kernels.layout import memory_format
from .kernels.native.build import problem as native_problem
from .learned_alpha import (
    LearnedAlpha,
    check_axes,
    constrain_resizers,
    host_alphas,
    is_own,
    learned_alphas,
    set_alpha,
    usable_alphas,
)
from .learned_kernel import LearnedKernelConv2d, constrain_kernels, host_extents, learned_kernels
from .learned_resizer import Chain, LearnedResizer, LearnedResizer2d, learned_resizers
from .library import triton_problem

__all__ = [
    "Chain", "DynOPool", "DynOPool1d", "DynOPool2d", "DynOPool3d", "DynOPoolAxes", "FixedInterpolate", "FixedPool",
    "FixedPool1d", "FixedPool2d", "FixedPool3d", "FixedStrides2d", "FollowInterpolate", "FollowPool",
    "LearnedAlpha", "LearnedKernelConv2d", "LearnedResizer", "LearnedResizer2d", "Reduce", "as_float32", "as_pair",
    "check_axes", "check_reduce", "constrain_kernels", "constrain_resizers", "dynopool1d", "dynopool2d",
    "dynopool3d", "dynopool_class", "fixed_pool_class", "gathered", "has_values", "host_alphas", "host_extents",
    "is_own", "is_recorded", "learned_alphas", "learned_kernels", "learned_resizers", "memory_format",
    "native_problem", "number_pair", "padding_of", "set_alpha", "triton_problem", "usable_alphas",
]  # fmt: skip
