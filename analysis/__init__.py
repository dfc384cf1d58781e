"""What a network's resolution does to it: receptive fields, I_min along a training run, comparisons of runs."""

from typing import TYPE_CHECKING

from dynpool.lazy import lazy_package

if TYPE_CHECKING:
    from .comparison import Comparison, compare_runs
    from .effective_field import EffectiveField, effective_receptive_field
    from .receptive_field import receptive_field
    from .report import write_report
    from .tracker import IMinTracker

__all__ = [
    "Comparison",
    "EffectiveField",
    "IMinTracker",
    "compare_runs",
    "effective_receptive_field",
    "receptive_field",
    "write_report",
]

lazy_package(
    __name__,
    {
        "comparison": "Comparison compare_runs",
        "effective_field": "EffectiveField effective_receptive_field",
        "receptive_field": "receptive_field",
        "report": "write_report",
        "tracker": "IMinTracker",
    },
)
