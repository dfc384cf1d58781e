"""Axes have the names of the field, up to three; one value stands for all that are alike."""

import pytest

from dynpool.analysis.common.axis_names import axis_names, one_or_all


@pytest.mark.parametrize("count", range(6))
def test_each_axis_has_a_name_of_its_own(count):
    names = axis_names(count)
    assert len(set(names)) == len(names) == count


def test_height_and_width_come_last_in_that_order():
    assert axis_names(2) == axis_names(3)[1:] == ("height", "width")


@pytest.mark.parametrize(
    ("values", "text"), [(("3", "3"), "3"), (("3", "5"), "3x5"), (("7",), "7"), (("3", "3", "5"), "3x3x5")]
)
def test_values_that_are_alike_are_shown_once(values, text):
    assert one_or_all(values) == text
