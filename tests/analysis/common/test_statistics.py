"""Means, deviations and Pareto fronts of figures, some of which are unknown."""

import math

import numpy as np
import pytest
import scipy.stats

from dynpool.analysis.common.statistics import MeanStd, format_field, pareto_front


def test_mean_of_unknown_values() -> None:
    assert MeanStd.from_values([None, None]) is None
    assert MeanStd.from_values([None, 2.0]) == MeanStd(2.0, None, 1)
    assert MeanStd(math.nan, None, 1).show() == "- ± -"


def test_standard_error_of_the_mean() -> None:
    assert MeanStd(1.0, 3.0, 9).error == 1.0
    assert MeanStd(1.0, None, 1).error is None


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(1, 1), (2, 2), (3, 1)], [0, 1]),
        ([(2, 5), (1, 5), (1, 4)], [1]),
        ([(1, 1), (1, 1)], [0, 1]),
        ([], []),
    ],
)
def test_pareto_front(points: list[tuple[float, float]], front: list[int]) -> None:
    assert pareto_front(points) == front


def test_means_that_differ_by_their_rounding_are_both_on_the_front() -> None:
    cost = 0.000177432
    assert sum([cost] * 3) / 3 != cost
    assert sorted(pareto_front([(cost, 0.667), (sum([cost] * 3) / 3, 0.667), (cost * 1.001, 0.667)])) == [0, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(43.0, "43"), (2.25, "2.2"), (1.96, "2"), (math.inf, "∞")],
    ids=["whole", "down", "up", "global"],
)
def test_fields_are_shown_to_a_tenth(value, text):
    assert format_field(value) == text


def test_the_interval_of_a_mean_is_students() -> None:
    values = [0.5, 0.7, 0.9, 0.6]
    found = MeanStd.from_values(values)
    assert found is not None
    expected = scipy.stats.t.interval(0.9, 3, np.mean(values), scipy.stats.sem(values))
    assert found.interval(0.9) == pytest.approx(expected)
    one = MeanStd.from_values([0.5])
    assert one is not None
    assert one.interval() is None
