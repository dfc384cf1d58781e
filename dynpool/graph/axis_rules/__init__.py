"""The rule of each primitive for axes: which must agree, and which are pinned."""

from .context import more_specific
from .table import find_axes

__all__ = ["find_axes", "more_specific"]
