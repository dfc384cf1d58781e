"""Arrays that leave out dimensions they do not vary along are treated as the full ones would be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynpool.analysis.fields.arrays import Array, blocks, concatenated, moves, reshape, shrunk, take

NAN = float("nan")


def full(array: Array, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(array, shape)


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Array]:
    """Two shapes of as many entries, and an array that varies along some dimensions of the first."""
    old = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    new, left = [], int(np.prod(old))
    while left > 1:
        new.append(draw(st.sampled_from([n for n in range(2, left + 1) if left % n == 0])))
        left //= new[-1]
    for _ in range(draw(st.integers(0, 2))):
        new.insert(draw(st.integers(0, len(new))), 1)
    kept = [n if draw(st.booleans()) else 1 for n in old]
    array = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 9, kept).astype(float)
    return old, tuple(new), array


@settings(deadline=None, max_examples=60, derandomize=True)
@given(views())
def test_a_view_of_an_array_is_that_of_the_full_one(case: tuple[tuple[int, ...], tuple[int, ...], Array]) -> None:
    old, new, array = case
    found = reshape(array, old, new)
    assert np.array_equal(full(found, new), full(array, old).reshape(new))
    assert all(n in (1, m) for n, m in zip(found.shape, new, strict=True))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(views())
def test_blocks_of_both_shapes_have_as_many_entries_and_cover_all_dimensions(case: tuple) -> None:
    old, new, _ = case
    found = blocks(old, new)
    assert [i for before, _ in found for i in before] == list(range(len(old)))
    assert [j for _, after in found for j in after] == list(range(len(new)))
    for before, after in found:
        assert np.prod([old[i] for i in before]) == np.prod([new[j] for j in after])


def test_what_does_not_vary_is_left_out_empty_entries_included() -> None:
    array = np.array([[1.0, 2.0, NAN], [1.0, 2.0, NAN]])
    assert np.array_equal(shrunk(array), np.array([[1.0, 2.0, NAN]]), equal_nan=True)
    assert shrunk(np.array([[1.0, NAN], [1.0, 2.0]])).shape == (2, 2)


@pytest.mark.parametrize(
    ("row", "expected"), [([1.0, 1.0, 1.0], False), ([1.0, NAN, 1.0], False), ([1.0, 1.0, 2.0], True), ([5.0], False)]
)
def test_neighbours_move_if_they_differ(row: list[float], expected: bool) -> None:
    assert moves(np.array([row]), 1) is expected


def test_entries_are_taken_and_put_beside_each_other_as_of_full_arrays() -> None:
    a, b = np.arange(3.0)[:, None], np.full((1, 1), 7.0)
    index = np.array([2, 0])
    assert take(a, 0, index).ravel().tolist() == [2.0, 0.0]
    assert take(a, 1, index) is a
    both = concatenated([a, b], 1)
    assert np.array_equal(both, np.concatenate([full(a, (3, 1)), full(b, (3, 1))], 1))
