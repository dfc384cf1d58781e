"""What a network's resolution does to it: receptive fields, I_min along a training run, comparisons of runs."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names

if TYPE_CHECKING:
    from .comparison.html import write_report
    from .comparison.summary import Comparison, compare_runs
    from .model_report.effective import EffectiveField, effective_receptive_field
    from .model_report.receptive_field import receptive_field
    from .tracking.tracker import IMinTracker

__all__ = [
    "Comparison",
    "EffectiveField",
    "IMinTracker",
    "compare_runs",
    "effective_receptive_field",
    "receptive_field",
    "write_report",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "comparison.summary": "Comparison compare_runs",
            "model_report.effective": "EffectiveField effective_receptive_field",
            "model_report.receptive_field": "receptive_field",
            "comparison.html": "write_report",
            "tracking.tracker": "IMinTracker",
        },
    )
