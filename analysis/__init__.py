"""What a network's resolution does to it: receptive fields, I_min along a training run, comparisons of runs."""

from .comparison import Comparison, compare_runs

__all__ = ["Comparison", "compare_runs"]
