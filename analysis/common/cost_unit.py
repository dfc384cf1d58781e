"""In which unit the cost of a network is shown: GMACs or MMACs, by its magnitude."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from .statistics import number

__all__ = ["CostUnit", "cost_unit", "cost_words"]


class CostUnit(NamedTuple):
    """How costs are shown: the unit's name, how many of it are a GMAC, and the digits after the point."""

    name: str
    scale: float
    digits: int

    def show(self, gmacs: float) -> str:
        """A cost in GMACs as a number of this unit."""
        return number(self.scale * gmacs, self.digits)


def cost_unit(gmacs: Iterable[float]) -> CostUnit:
    """The unit for some costs: GMACs, or MMACs (1e6) where all are below 0.1; four digits for the smallest."""
    costs = [cost for cost in gmacs if math.isfinite(cost) and cost > 0]
    name, scale = ("MMACs", 1e3) if costs and max(costs) < 0.1 else ("GMACs", 1.0)
    digits = 3 if not costs else max(0, min(9, 3 - math.floor(math.log10(scale * min(costs)))))
    return CostUnit(name, scale, digits)


def cost_words(gmacs: float) -> str:
    """One cost with its unit: '2.345 GMACs' or '0.4885 MMACs'."""
    unit = cost_unit([gmacs])
    return f"{unit.scale * gmacs:.4g} {unit.name}"
