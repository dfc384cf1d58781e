"""The effect of each operation on receptive fields."""

from .table import walk_of

__all__ = ["walk_of"]
