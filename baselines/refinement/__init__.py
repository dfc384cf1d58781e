"""Static refinement: a network is edited before training so that I_min < I_res (Richter and Pal)."""

from .api import refine
from .plan import Edit, RefinementPlan
from .published import PublishedEdit, published_edits

__all__ = ["Edit", "PublishedEdit", "RefinementPlan", "published_edits", "refine"]
