"""Multiply-accumulates of a model, and their differentiable form as a loss."""

from .cost_model import CostModel, costed_model
from .macs import Ceiling, GMACsLoss, MacsReport, count_macs, macs_of

__all__ = ["Ceiling", "CostModel", "GMACsLoss", "MacsReport", "costed_model", "count_macs", "macs_of"]
