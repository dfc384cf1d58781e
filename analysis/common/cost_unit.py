"""The unit for the cost of a network, by magnitude: GMACs or MMACs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from .statistics import format_number

__all__ = ["CostUnit", "cost_unit", "format_cost"]


class CostUnit(NamedTuple):
    """A unit of cost: its name, how many of it make one GMAC, and the decimals to show."""

    name: str
    scale: float
    digits: int

    def show(self, gmacs: float) -> str:
        """A cost in GMACs, formatted in this unit."""
        return format_number(self.scale * gmacs, self.digits)


def cost_unit(gmacs: Iterable[float]) -> CostUnit:
    """The unit for the given costs: GMACs, or MMACs (1e6) if all are below 0.1; the smallest gets four digits."""
    costs = [cost for cost in gmacs if math.isfinite(cost) and cost > 0]
    name, scale = ("MMACs", 1e3) if costs and max(costs) < 0.1 else ("GMACs", 1.0)
    digits = 3 if not costs else max(0, min(9, 3 - math.floor(math.log10(scale * min(costs)))))
    return CostUnit(name, scale, digits)


def format_cost(gmacs: float) -> str:
    """One cost with its unit: '2.345 GMACs' or '0.4885 MMACs'."""
    unit = cost_unit([gmacs])
    return f"{unit.scale * gmacs:.4g} {unit.name}"
