"""Receptive fields as numbers."""

from .compile import compile_fields
from .layer_row import GLOBAL_PATH, LayerRow
from .report import FieldReport
from .steps import Layer
from .stride_program import Outcome, StrideProgram

__all__ = ["GLOBAL_PATH", "FieldReport", "Layer", "LayerRow", "Outcome", "StrideProgram", "compile_fields"]
