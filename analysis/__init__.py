"""What a network's resolution does to it: receptive fields, I_min along a training run, comparisons of runs."""

from .comparison import Comparison, compare_runs
from .receptive_field import receptive_field
from .report import write_report
from .tracker import IMinTracker

__all__ = ["Comparison", "IMinTracker", "compare_runs", "receptive_field", "write_report"]
