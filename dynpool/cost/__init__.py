"""Multiply-accumulates of a model, their differentiable form as a loss, seconds, and the memory of its activations."""

from .clock import seconds_of
from .cost_model import CostModel, costed_model
from .latency import LatencyCheck, LatencyModel
from .macs import Ceiling, GMACsLoss, MacsReport, count_macs, macs_of
from .memory import Memory, find_memory

__all__ = [
    "Ceiling", "CostModel", "GMACsLoss", "LatencyCheck", "LatencyModel", "MacsReport", "Memory", "costed_model",
    "count_macs", "find_memory", "macs_of", "seconds_of",
]  # fmt: skip
