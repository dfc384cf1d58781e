"""Curves through measured times."""

import pytest

from dynpool.cost.curve import Curve, fitted_line


def test_a_curve_goes_through_points_that_rise():
    curve = Curve.through([(4.0, 9.0), (1.0, 2.0), (2.0, 3.0)])
    assert [curve(work) for work in (1.0, 1.5, 2.0, 3.0, 4.0)] == [2.0, 2.5, 3.0, 6.0, 9.0]
    assert curve(7.0) == pytest.approx(9 * 7 / 4)  # in proportion to the work, which is less than by the slope
    assert curve(0.5) == pytest.approx(1.0)
    assert curve(0.0) == 0.0
    flat = Curve.through([(1.0, 5.0), (4.0, 8.0)])
    assert (flat(7.0), flat(0.5), flat(0.0)) == (11.0, 4.5, 4.0)  # by the slope from first to last
    assert curve.slope(1.5) == pytest.approx((curve(1.875) - curve(1.2)) / 0.675)


def test_points_that_fall_are_averaged_with_those_before():
    curve = Curve.through([(1.0, 3.0), (2.0, 1.0), (3.0, 5.0)])
    assert (curve.works, curve.seconds) == ((1.5, 3.0), (2.0, 5.0))
    assert Curve.through([(1.0, 4.0), (2.0, 3.0), (3.0, 2.0)]).seconds == (3.0,)


def test_what_never_changes_has_one_value_and_no_slope():
    curve = Curve.through([(5.0, 1.0), (5.0, 3.0), (5.0, 2.0)])
    assert (curve(1.0), curve(5.0), curve(9.0), curve.slope(5.0)) == (2.0, 2.0, 2.0, 0.0)
    assert Curve.through([(0.0, 1.0)]).slope(0.0) == 0.0


def test_a_line_is_fitted_by_relative_errors_and_never_negative():
    assert fitted_line([1.0, 2.0, 5.0], [5.0, 7.0, 13.0]) == pytest.approx((2.0, 3.0))
    factor, constant = fitted_line([1.0, 2.0, 4.0], [1.0, 3.0, 7.0])  # best with a constant of -1
    assert constant == 0.0
    assert factor == pytest.approx((1 / 1 + 2 / 3 + 4 / 7) / (1 + 4 / 9 + 16 / 49))
    assert fitted_line([1.0, 2.0], [4.0, 2.0]) == pytest.approx(((1 / 4 + 1) / (1 / 16 + 1), 0.0))  # it would fall
    assert fitted_line([3.0, 3.0], [6.0, 6.0]) == pytest.approx((2.0, 0.0))  # one size only
    assert fitted_line([0.0, 0.0], [2.0, 2.0]) == pytest.approx((0.0, 2.0))  # no layer takes time
