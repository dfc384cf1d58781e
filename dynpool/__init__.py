"""Learned feature-map sizes for convolutional networks: DynOPool, its cost, its receptive fields."""

from typing import TYPE_CHECKING

from .lazy import lazy_package

if TYPE_CHECKING:
    from .checkpoints import load, save
    from .convert import ConversionReport, conversion_report, convert, sizes
    from .fixed import FixedPool2d
    from .freeze import FreezeReport, freeze, freeze_report
    from .functional import dynopool2d
    from .graph import Graph, trace
    from .kinds import Plan, Site, register_kind
    from .learned import Resolution, constrain, parameter_groups, resolutions, set_sizes
    from .macs import GMACsLoss, MacsReport, count_macs
    from .pool import DynOPool, DynOPool2d
    from .resizer import Chain, LearnedResizer2d

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
    "Plan",
    "Resolution",
    "Site",
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
    "resolutions",
    "save",
    "set_sizes",
    "sizes",
    "trace",
]

__version__ = "0.1.0"

lazy_package(
    __name__,
    {
        "checkpoints": "load save",
        "convert": "ConversionReport conversion_report convert sizes",
        "fixed": "FixedPool2d",
        "freeze": "FreezeReport freeze freeze_report",
        "functional": "dynopool2d",
        "graph": "Graph trace",
        "kinds": "Plan Site register_kind",
        "learned": "Resolution constrain parameter_groups resolutions set_sizes",
        "macs": "GMACsLoss MacsReport count_macs",
        "pool": "DynOPool DynOPool2d",
        "resizer": "Chain LearnedResizer2d",
    },
)
