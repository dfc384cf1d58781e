"""Primitives refuse what does not belong together."""

from typing import Any

import pytest

from dynpool.graph.primitives import Window
from dynpool.graph.record import Value

X = Value(0, (1, 3, 8, 9), "input")


def test_a_window_moves_by_one_unpadded_and_undilated_unless_told_otherwise():
    window = Window(X, (2, 3))
    assert (window.stride, window.padding, window.dilation) == ((1, 1), (0, 0), (1, 1))
    assert Window(X, (2, 3), padding=(0, 1)).padding == (0, 1)


@pytest.mark.parametrize("name", ["stride", "padding", "dilation"])
def test_a_window_has_a_number_for_each_of_its_axes(name):
    bad: dict[str, Any] = {name: (2,)}
    with pytest.raises(ValueError, match=rf"Window: {name} must have 2 ints, as kernel has, got \(2,\)"):
        Window(X, (2, 3), **bad)


def test_two_operations_alike_are_two():
    assert Window(X, (2, 2)) != Window(X, (2, 2))
