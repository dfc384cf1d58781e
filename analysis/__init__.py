"""Receptive fields of a model, I_min in training, sensitivity to sizes, what layers hold, comparisons of runs."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names
from dynpool.common.short_names import shorten

if TYPE_CHECKING:
    from dynpool.analysis.comparison.html import write_report
    from dynpool.analysis.comparison.summary import Comparison, compare_runs
    from dynpool.analysis.model_report.effective import EffectiveField, effective_receptive_field
    from dynpool.analysis.model_report.receptive_field import receptive_field
    from dynpool.analysis.representations import (
        CKAReport,
        HessianSpectrum,
        InspectionReport,
        PruningReport,
        PruningRow,
        cka,
        hessian_eigenvalues,
        inspect,
        prune_globally,
        pruning_curve,
    )
    from dynpool.analysis.sensitivity import SensitivityReport, SensitivityRow, size_sensitivity
    from dynpool.analysis.tracking import IMinTracker

__all__ = [
    "CKAReport",
    "Comparison",
    "EffectiveField",
    "HessianSpectrum",
    "IMinTracker",
    "InspectionReport",
    "PruningReport",
    "PruningRow",
    "SensitivityReport",
    "SensitivityRow",
    "cka",
    "compare_runs",
    "effective_receptive_field",
    "hessian_eigenvalues",
    "inspect",
    "prune_globally",
    "pruning_curve",
    "receptive_field",
    "size_sensitivity",
    "write_report",
]

if __name__ == "analysis":  # the short name
    shorten(__name__)
elif not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "comparison.summary": "Comparison compare_runs",
            "model_report.effective": "EffectiveField effective_receptive_field",
            "model_report.receptive_field": "receptive_field",
            "comparison.html": "write_report",
            "representations": "CKAReport HessianSpectrum InspectionReport PruningReport PruningRow cka "
            "hessian_eigenvalues inspect prune_globally pruning_curve",
            "sensitivity": "SensitivityReport SensitivityRow size_sensitivity",
            "tracking": "IMinTracker",
        },
    )
