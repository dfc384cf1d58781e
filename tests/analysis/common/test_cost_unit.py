"""Costs are shown in the unit that suits their magnitude."""

import pytest

from dynpool.analysis.common.cost_unit import cost_unit, format_cost


@pytest.mark.parametrize(
    ("gmacs", "shown"),
    [(0.0004885, "0.4885 MMACs"), (0.0139, "13.9 MMACs"), (0.1, "0.1 GMACs"), (15.4, "15.4 GMACs"), (0.0, "0 GMACs")],
)
def test_one_cost(gmacs: float, shown: str) -> None:
    assert format_cost(gmacs) == shown


def test_several_costs_share_a_unit_and_four_digits_of_the_smallest() -> None:
    unit = cost_unit([0.0004885, 0.0265, float("nan")])
    assert (unit.name, unit.show(0.0004885), unit.show(0.0265)) == ("MMACs", "0.4885", "26.5000")
    unit = cost_unit([0.05, 4.1])
    assert (unit.name, unit.show(0.05), unit.show(4.1)) == ("GMACs", "0.05000", "4.10000")
