"""From a model to one with learned sizes, and from that to one with fixed sizes."""

from .api import convert, sizes, sizes_of
from .checkpoints import load, read_state_dict, save
from .chosen_sizes import set_sizes
from .coverage import SPOT_CHECKS, CoverageRow, coverage_names, run_coverage, summarize
from .freezing import FreezeReport, freeze, freeze_report, thawed
from .functional_calls import name_calls
from .kernel_layers import KernelReport, KernelRow, replace_convolutions
from .registry import Plan, Site, axes_of, register_kind
from .report import ConversionReport, ConversionRow, NothingToLearnError, attach_report, conversion_report
from .size_groups import Key

__all__ = [
    "SPOT_CHECKS",
    "ConversionReport",
    "ConversionRow",
    "CoverageRow",
    "FreezeReport",
    "KernelReport",
    "KernelRow",
    "Key",
    "NothingToLearnError",
    "Plan",
    "Site",
    "attach_report",
    "axes_of",
    "conversion_report",
    "convert",
    "coverage_names",
    "freeze",
    "freeze_report",
    "load",
    "name_calls",
    "read_state_dict",
    "register_kind",
    "replace_convolutions",
    "run_coverage",
    "save",
    "set_sizes",
    "sizes",
    "sizes_of",
    "summarize",
    "thawed",
]  # fmt: skip
