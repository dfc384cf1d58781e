"""I_min of a model during training."""

from .tracker import IMinTracker

__all__ = ["IMinTracker"]
