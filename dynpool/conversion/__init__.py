"""From a model to one with learned sizes, and from that to one with fixed sizes."""

from .api import convert, sizes, sizes_of
from .checkpoints import load, read_state_dict, save
from .freezing import FreezeReport, freeze, freeze_report, thawed
from .functional_calls import name_calls
from .registry import Plan, Site, register_kind
from .report import ConversionReport, ConversionRow, NothingToLearnError, attach_report, conversion_report

__all__ = [
    "ConversionReport", "ConversionRow", "FreezeReport", "NothingToLearnError", "Plan", "Site", "attach_report",
    "conversion_report", "convert", "freeze", "freeze_report", "load", "name_calls", "read_state_dict", "register_kind",
    "save", "sizes", "sizes_of", "thawed",
]  # fmt: skip
