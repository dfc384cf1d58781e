"""What the layers of trained networks hold: similarity between networks, curvature of the loss, pruning."""

from .hessian import hessian_eigenvalues
from .hessian_report import HessianSpectrum
from .pruning import prune_globally, pruning_curve
from .pruning_report import PruningReport, PruningRow
from .similarity import cka
from .similarity_report import CKAReport

__all__ = [
    "CKAReport",
    "HessianSpectrum",
    "PruningReport",
    "PruningRow",
    "cka",
    "hessian_eigenvalues",
    "prune_globally",
    "pruning_curve",
]
