"""Learned feature-map sizes for convolutional networks: DynOPool, its cost, its receptive fields."""

from typing import TYPE_CHECKING

from .common.lazy import lazy_names
from .common.version import __version__ as __version__

if TYPE_CHECKING:
    from .conversion.api import ConversionReport, NothingToLearnError, conversion_report, convert, sizes
    from .conversion.checkpoints import load, save
    from .conversion.freezing import FreezeReport, freeze, freeze_report
    from .conversion.registry import Plan, Site, register_kind
    from .cost.macs import GMACsLoss, MacsReport, count_macs
    from .graph.errors import TraceError
    from .graph.ir import Graph
    from .graph.ops.describe import register_op
    from .graph.tracer import trace
    from .resizers.dynopool import DynOPool, DynOPool2d
    from .resizers.fixed import FixedPool2d
    from .resizers.functional import dynopool2d
    from .resizers.learned_resizer import Chain, LearnedResizer2d
    from .resolution.learned_sizes import Resolution, constrain, parameter_groups, resolutions, set_sizes

__all__ = [
    "Chain",
    "ConversionReport",
    "DynOPool",
    "DynOPool2d",
    "FixedPool2d",
    "FreezeReport",
    "GMACsLoss",
    "Graph",
    "LearnedResizer2d",
    "MacsReport",
    "NothingToLearnError",
    "Plan",
    "Resolution",
    "Site",
    "TraceError",
    "constrain",
    "conversion_report",
    "convert",
    "count_macs",
    "dynopool2d",
    "freeze",
    "freeze_report",
    "load",
    "parameter_groups",
    "register_kind",
    "register_op",
    "resolutions",
    "save",
    "set_sizes",
    "sizes",
    "trace",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "conversion.checkpoints": "load save",
            "conversion.api": "ConversionReport NothingToLearnError conversion_report convert sizes",
            "resizers.fixed": "FixedPool2d",
            "conversion.freezing": "FreezeReport freeze freeze_report",
            "resizers.functional": "dynopool2d",
            "graph.errors": "TraceError",
            "graph.ir": "Graph",
            "graph.ops.describe": "register_op",
            "graph.tracer": "trace",
            "conversion.registry": "Plan Site register_kind",
            "resolution.learned_sizes": "Resolution constrain parameter_groups resolutions set_sizes",
            "cost.macs": "GMACsLoss MacsReport count_macs",
            "resizers.dynopool": "DynOPool DynOPool2d",
            "resizers.learned_resizer": "Chain LearnedResizer2d",
        },
    )
