"""What one pixel more or less of each learned size does to the loss, beside the gradient that moves the size."""

from .measure import size_sensitivity
from .report import SensitivityReport
from .row import SensitivityRow

__all__ = ["SensitivityReport", "SensitivityRow", "size_sensitivity"]
