"""Learned feature-map sizes for convolutional networks: DynOPool, its cost, its receptive fields."""

from typing import TYPE_CHECKING

from .common.lazy import lazy_names
from .common.version import __version__ as __version__

if TYPE_CHECKING:
    from .analysis import SensitivityReport, size_sensitivity
    from .conversion import (
        ConversionReport,
        FreezeReport,
        NothingToLearnError,
        Plan,
        Site,
        conversion_report,
        convert,
        freeze,
        freeze_report,
        load,
        register_kind,
        save,
        set_sizes,
        sizes,
    )  # fmt: skip
    from .cost import GMACsLoss, LatencyModel, MacsReport, count_macs
    from .graph import Graph, TraceError, trace
    from .graph.ops import register_macs, register_op
    from .resizers import (
        Chain,
        DynOPool,
        DynOPool1d,
        DynOPool2d,
        DynOPool3d,
        FixedPool2d,
        LearnedKernelConv2d,
        LearnedResizer,
        LearnedResizer2d,
        dynopool1d,
        dynopool2d,
        dynopool3d,
    )  # fmt: skip
    from .resolution import Resolution, constrain, parameter_groups, resolutions

__all__ = [
    "Chain",
    "ConversionReport",
    "DynOPool",
    "DynOPool1d",
    "DynOPool2d",
    "DynOPool3d",
    "FixedPool2d",
    "FreezeReport",
    "GMACsLoss",
    "Graph",
    "LatencyModel",
    "LearnedKernelConv2d",
    "LearnedResizer",
    "LearnedResizer2d",
    "MacsReport",
    "NothingToLearnError",
    "Plan",
    "Resolution",
    "SensitivityReport",
    "Site",
    "TraceError",
    "constrain",
    "conversion_report",
    "convert",
    "count_macs",
    "dynopool1d",
    "dynopool2d",
    "dynopool3d",
    "freeze",
    "freeze_report",
    "load",
    "parameter_groups",
    "register_kind",
    "register_macs",
    "register_op",
    "resolutions",
    "save",
    "set_sizes",
    "size_sensitivity",
    "sizes",
    "trace",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "analysis": "SensitivityReport size_sensitivity",
            "conversion": "ConversionReport FreezeReport NothingToLearnError Plan Site conversion_report convert "
            "freeze freeze_report load register_kind save set_sizes sizes",
            "cost": "GMACsLoss LatencyModel MacsReport count_macs",
            "graph": "Graph TraceError trace",
            "graph.ops": "register_macs register_op",
            "resizers": "Chain DynOPool DynOPool1d DynOPool2d DynOPool3d FixedPool2d LearnedKernelConv2d "
            "LearnedResizer LearnedResizer2d dynopool1d dynopool2d dynopool3d",
            "resolution": "Resolution constrain parameter_groups resolutions",
        },
    )
