"""The rule of each ATen operation for axes: which must agree, which are fixed, what it costs."""

from .context import more_specific
from .table import find_axes

__all__ = ["find_axes", "more_specific"]
