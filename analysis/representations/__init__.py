"""Which layers of a trained network work: probes, saturation, heat maps, beside what receptive fields predict."""

from .activations import Activations, collect
from .heatmaps import HeatMap
from .inspection import inspect
from .layer_reducer import LayerActivations
from .plot import plot_side_by_side
from .probes import Probe, fit_probe
from .report import InspectionReport
from .row import InspectionRow
from .saturation import Saturation, layer_saturation
from .tail import Border, Tail, TailOverRuns, tail_over_runs

__all__ = [
    "Activations", "Border", "HeatMap", "InspectionReport", "InspectionRow", "LayerActivations", "Probe", "Saturation",
    "Tail", "TailOverRuns", "collect", "fit_probe", "inspect", "layer_saturation", "plot_side_by_side",
    "tail_over_runs",
]  # fmt: skip
