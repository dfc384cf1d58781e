"""Measures of positions: steps, first positions and straight lines, whatever entries are empty or moved."""

import numpy as np
import pytest

from dynpool.analysis.fields.measures import (
    Measures,
    affine_step,
    anchor,
    evened,
    most_common,
    read,
    smallest_step,
    straightened,
)

NAN = float("nan")
LINE = 3.0 + 2.0 * np.arange(8, dtype=np.float64)


@pytest.mark.parametrize(
    ("row", "step"),
    [
        (LINE, 2.0),
        (LINE[::-1], -2.0),
        (np.roll(LINE, 3), 2.0),
        (LINE.reshape(2, 4).T.ravel(), 2.0),  # block by block
        (np.where(np.arange(8) % 2, NAN, LINE), 2.0),  # every other position is empty
        (np.array([5.0, 0.0, 1e-9, 2.0]), 2.0),  # closer ones are equal
        (np.full(8, 5.0), 0.0),
        (np.array([5.0]), 0.0),
    ],
)
def test_the_step_is_that_of_nearest_positions(row: np.ndarray, step: float) -> None:
    assert smallest_step(row) == pytest.approx(step)
    assert Measures().step(row) == smallest_step(row)


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_a_rolled_line_begins_where_most_of_it_would(shift: int) -> None:
    assert anchor(np.roll(LINE, shift)) == LINE[0] - 2.0 * shift
    assert anchor(np.array([NAN, 5.0, 7.0])) == 3.0
    assert np.isnan(anchor(np.array([NAN, NAN])))


def test_a_line_has_one_step_along_a_dimension_and_anything_else_none() -> None:
    grid = LINE[:, None] + 10.0 * np.arange(3)
    assert (affine_step(grid, 0), affine_step(grid, 1)) == (2.0, 10.0)
    assert affine_step(np.array([0.0, 1.0, 3.0]), 0) is None


@pytest.mark.parametrize("times", [2, 3])
def test_repeated_entries_become_even_steps_with_the_same_middle(times: int) -> None:
    repeated = np.repeat(LINE, times)
    found = evened(repeated, 0)
    assert np.allclose(np.diff(found), 2.0 / times)
    assert np.isclose(found.mean(), repeated.mean())
    assert evened(LINE, 0) is LINE
    uneven = np.array([0.0, 0.0, 1.0])
    assert evened(uneven, 0) is uneven


def test_a_line_with_few_entries_off_it_is_made_straight() -> None:
    bent = LINE.copy()
    bent[-1] = 0.0
    assert straightened(bent, 0).tolist() == LINE.tolist()
    noise = np.array([0.0, 5.0, 1.0, 9.0, 3.0])
    assert straightened(noise, 0) is noise


def test_the_most_common_value_counts_no_empty_entries() -> None:
    assert most_common(np.array([2.0, 1.0, 2.0, NAN, NAN, NAN])) == 2.0
    assert most_common(np.array([2.0, 1.0])) == 1.0


def test_what_a_window_reads_has_its_middle_and_its_extent() -> None:
    index = np.array([[-1, 0, 1], [1, 2, 3], [6, 7, -1]])
    centres, extent = read(LINE, 0, index)
    assert centres.tolist() == [(LINE[0] + LINE[1]) / 2, LINE[2], (LINE[6] + LINE[7]) / 2]
    assert extent == 2.0  # the median: in the padding nothing is read


def test_equal_arrays_are_one_object_while_one_of_them_is_held() -> None:
    measures = Measures()
    first = measures.shared(LINE.copy())
    assert measures.shared(LINE.copy()) is first
    assert measures.shared(LINE + 1) is not first
