"""Which layers of a trained network work: probes, saturation, heat maps, beside what receptive fields predict."""

from .activations import Activations, collect
from .agreement import Agreement, AgreementPoint, tail_agreement
from .heatmaps import HeatMap
from .inspection import inspect
from .layer_reducer import LayerActivations
from .page import write_page
from .plot import plot_side_by_side
from .probes import Probe, fit_probe
from .report import InspectionReport
from .row import InspectionRow
from .saturation import Saturation, layer_saturation
from .saved import read_report
from .tail import Border, Tail, TailOverRuns, tail_over_runs

__all__ = [
    "Activations", "Agreement", "AgreementPoint", "Border", "HeatMap", "InspectionReport", "InspectionRow",
    "LayerActivations", "Probe", "Saturation", "Tail", "TailOverRuns", "collect", "fit_probe", "inspect",
    "layer_saturation", "plot_side_by_side", "read_report", "tail_agreement",
    "tail_over_runs", "write_page",
]  # fmt: skip
