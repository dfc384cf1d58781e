"""The rule of each ATen operation for axes: which must agree, which are fixed, what it costs."""

from .context import told_of_both
from .table import find_axes

__all__ = ["find_axes", "told_of_both"]
