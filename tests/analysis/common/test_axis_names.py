"""Axes have the names of the field, up to three; one value stands for all that are alike."""

import pytest

from dynpool.analysis.common.axis_names import along_axes, axis_names, count_of_axes, one_or_all


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


@pytest.mark.parametrize("count", [1, 2, 3])
def test_columns_along_axes_tell_how_many_there_are(count):
    columns = along_axes("i_min", count)
    assert len(set(columns)) == len(columns) == count
    assert count_of_axes("i_min", ["epoch", *columns, "seed"]) == count
    assert count_of_axes("i_max", columns) is None
    assert count_of_axes("i_min", columns[1:]) == {1: None, 2: None, 3: 2}[count]
