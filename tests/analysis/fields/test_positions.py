"""Terms are moved as the tensor whose positions they describe is."""

from collections.abc import Callable

import numpy as np
import pytest

from dynpool.analysis.fields.positions import Term, comparable, extent, shared_dim

ROWS = np.arange(4.0).reshape(1, 1, 4, 1)
COLUMNS = np.arange(6.0).reshape(1, 1, 1, 6)
SHAPE = (1, 2, 4, 6)
TERM = Term(((ROWS,), (COLUMNS,)), (None, None))


def full(term: Term, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [np.broadcast_to(arrays[0], shape) for arrays in term.axes if arrays is not None]


MOVES: dict[str, tuple[Callable[[Term], Term], Callable[[np.ndarray], np.ndarray]]] = {
    "transposed": (lambda t: t.permuted((0, 1, 3, 2)), lambda a: a.transpose(0, 1, 3, 2)),
    "a new dimension": (lambda t: t.permuted((0, None, 1, 2, 3)), lambda a: a[:, None]),
    "tokens": (lambda t: t.viewed(SHAPE, (2, 24)), lambda a: a.reshape(2, 24)),
    "windows": (lambda t: t.viewed(SHAPE, (2, 2, 2, 3, 2)), lambda a: a.reshape(2, 2, 2, 3, 2)),
    "unsqueezed": (lambda t: t.unsqueezed(2), lambda a: a[:, :, None]),
    "without the first": (lambda t: t.without([0]), lambda a: a[0]),
    "taken": (lambda t: t.taken(2, np.array([3, 1])), lambda a: a[:, :, [3, 1]]),
    "of a higher rank": (lambda t: t.of_rank(5), lambda a: a[None]),
}


@pytest.mark.parametrize(("move", "expected"), MOVES.values(), ids=MOVES)
def test_positions_move_with_the_tensor(
    move: Callable[[Term], Term], expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    wanted = [expected(a) for a in full(TERM, SHAPE)]
    found = full(move(TERM), wanted[0].shape)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_an_axis_of_which_one_position_is_left_keeps_its_dimension() -> None:
    one = TERM.taken(3, np.array([2]))
    assert one.collapsed_dims == (None, 3)
    assert one.permuted((0, 1, 3, 2)).collapsed_dims == (None, 2)
    assert one.unsqueezed(0).collapsed_dims == (None, 4)
    assert one.viewed((1, 2, 4, 1), (1, 2, 4)).collapsed_dims == (None, None)
    assert one.viewed((1, 2, 4, 1), (1, 2, 4)).viewed((1, 2, 4), (1, 2, 4, 1)).collapsed_dims == (None, 3)
    assert one.without([0]).collapsed_dims == (None, 2)


def test_an_axis_without_arrays_is_global_and_stays_so() -> None:
    term = Term((None, (COLUMNS,)), (None, None))
    assert term.permuted((3, 0, 1, 2)).axes[0] is None
    assert term.along(3)
    assert not term.along(2)
    assert extent(term) == 6


def test_terms_are_comparable_if_one_varies_along_all_that_the_other_does() -> None:
    tokens = TERM.viewed(SHAPE, (2, 24))
    flat = Term(tuple((np.zeros((1, 1)),) for _ in range(2)), (None, None))
    assert comparable(tokens, flat)
    assert comparable(TERM, TERM)
    assert not comparable(TERM, TERM.permuted((0, 1, 3, 2)))


def test_a_dimension_is_shared_where_both_axes_run_along_it() -> None:
    assert shared_dim(TERM.viewed(SHAPE, (2, 24)), 0, 1)
    assert not shared_dim(TERM, 0, 2)
