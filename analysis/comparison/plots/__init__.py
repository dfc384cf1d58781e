"""Plots of compared runs. Each function returns a new Figure and touches no global state."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ...common.style import to_png
from ..pairs import PairRow
from ..read_runs import Run
from ..rows import metric_name
from .curves import method_colors, plot_alphas, plot_i_min, plot_metric, plot_tradeoff, tradeoff_positions
from .examples import plot_objects, plot_predictions
from .kernels import plot_kernels
from .pairs import plot_pairs
from .sizes import plot_sizes

__all__ = [
    "draw",
    "method_colors",
    "plot_alphas",
    "plot_i_min",
    "plot_kernels",
    "plot_metric",
    "plot_objects",
    "plot_pairs",
    "plot_predictions",
    "plot_sizes",
    "plot_tradeoff",
    "to_png",
    "tradeoff_positions",
]


def draw(runs: Sequence[Run], pairs: Sequence[PairRow] = ()) -> dict[str, Figure]:
    """All figures of the comparison by name, in the order of the report.

    'pairs' only with two seeds in common; 'kernels' and 'alphas' only if learned; 'predictions' and 'objects' only
    of segmentation.
    """
    key = runs[0].metric.key
    figures = {}
    if any(pair.test is not None and pair.test.n > 1 for pair in pairs):
        figures["pairs"] = plot_pairs(
            {f"{pair.group} against {pair.baseline}": pair for pair in pairs}, metric_name(runs)
        )
    figures |= {f"{key}_vs_gmacs": plot_tradeoff(runs), "sizes": plot_sizes(runs)}
    if any(run.last.kernels for run in runs):
        figures["kernels"] = plot_kernels(runs)
    if any(run.examples is not None for run in runs):
        figures |= {"predictions": plot_predictions(runs), "objects": plot_objects(runs)}
    figures["i_min"] = plot_i_min(runs)
    if any(run.last.strides for run in runs):
        figures["alphas"] = plot_alphas(runs)
    figures[key] = plot_metric(runs)
    return figures
