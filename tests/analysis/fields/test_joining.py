"""Joined fields: equal ones stay, others are joined by their paths; parts of a concatenation stay apart."""

import numpy as np

from dynpool.analysis.fields.joining import Joiner, filled
from dynpool.analysis.fields.positions import Field, Term
from dynpool.analysis.fields.steps import INPUT, Join, Layer, Window

ROW = np.arange(8.0).reshape(1, 1, 8)


def term(slot: int = INPUT, array: np.ndarray = ROW) -> Term:
    return Term(((array,),), (None,), slot)


def test_the_same_path_twice_needs_no_step() -> None:
    joiner = Joiner(1)
    field = joiner.join([term(), term()])
    assert len(field.terms) == 1
    assert field.terms[0].slot == INPUT
    assert joiner.steps == []


def test_two_paths_are_joined_to_the_shortest_and_the_longest() -> None:
    joiner = Joiner(1)
    three, seven = (joiner.emit(Layer(INPUT, (Window(k, 1.0),))) for k in (3, 7))
    (joined,) = joiner.join([term(three), term(seven)]).terms
    assert joiner.steps[-1] == Join((three, seven))
    (axis,) = joiner.states[joined.slot]
    assert (axis.r_min, axis.r_max, axis.aligned) == (3, 7, True)


def test_a_window_of_attention_sees_the_window_that_its_positions_are_in() -> None:
    """One field for four positions, joined to one for each: on average it is centred on them."""
    joiner = Joiner(1)
    pooled = joiner.emit(Layer(INPUT, (Window(4, 4.0, 1.5),)))
    (joined,) = joiner.join([term(), term(pooled, np.full((1, 1, 1), 1.5))]).terms
    assert joined.axes[0] is not None
    assert joined.axes[0][0].size == 8
    (axis,) = joiner.states[joined.slot]
    assert (axis.r_min, axis.r_max, axis.s, axis.centre) == (1, 4, 1, 0)


def test_parts_of_a_concatenation_stay_apart_unless_it_runs_along_the_image() -> None:
    joiner = Joiner(1)
    channels = joiner.cat([Field((term(),)), None], 1, [4, 4])
    assert channels.terms == ()
    assert channels.parts is not None
    assert [size for size, _ in channels.parts[1]] == [4, 4]
    assert len(joiner.whole(channels).terms) == 1
    along = joiner.cat([Field((term(),)), Field((term(array=ROW + 8),))], 2, [8, 8])
    assert along.parts is None
    (whole,) = along.terms
    assert whole.axes[0] is not None
    assert whole.axes[0][0].ravel().tolist() == list(range(16))


def test_empty_entries_are_filled_from_what_else_is_there() -> None:
    holes = np.where(ROW % 2 == 0, ROW, np.nan)
    assert filled((holes,), [(holes,), (ROW + 100,)]) is not None
    found = filled((holes,), [(holes,), (ROW + 100,)])
    assert found is not None
    assert found[0].ravel().tolist() == [0, 101, 2, 103, 4, 105, 6, 107]
    assert filled(None, [(ROW,)]) is None
