"""What trained networks hold: probes, saturation, heat maps, similarity, curvature, pruning, beside their fields."""

from .activations import Activations, collect
from .agreement import Agreement, AgreementPoint, tail_agreement
from .heatmaps import HeatMap
from .hessian import hessian_eigenvalues
from .hessian_report import HessianSpectrum
from .inspection import inspect
from .layer_reducer import LayerActivations
from .page import write_page
from .plot import plot_side_by_side
from .probes import Probe, fit_probe
from .pruning import prune_globally, pruning_curve
from .pruning_report import PruningReport, PruningRow
from .report import InspectionReport
from .row import InspectionRow
from .saturation import Saturation, layer_saturation
from .saved import read_pruning, read_report, read_similarity, read_spectrum
from .seed_summary import LayerOverSeeds, SeedSummary, over_seeds
from .similarity import cka
from .similarity_report import CKAReport
from .tail import Border, Tail, TailOverRuns, tail_over_runs

__all__ = [
    "Activations", "Agreement", "AgreementPoint", "Border", "CKAReport", "HeatMap", "HessianSpectrum",
    "InspectionReport", "InspectionRow", "LayerActivations", "LayerOverSeeds", "Probe", "PruningReport",
    "PruningRow", "Saturation", "SeedSummary", "Tail", "TailOverRuns", "cka", "collect", "fit_probe",
    "hessian_eigenvalues", "inspect", "layer_saturation", "over_seeds", "plot_side_by_side", "prune_globally",
    "pruning_curve", "read_pruning", "read_report", "read_similarity", "read_spectrum", "tail_agreement",
    "tail_over_runs", "write_page",
]  # fmt: skip
