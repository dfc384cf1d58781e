"""What rules are given to work with: dimensions split, joined and made one, with the resolutions that they carry."""

from fractions import Fraction

import pytest
from torch import nn

from dynpool.graph.axis_rules.context import Context, more_specific
from dynpool.graph.axis_rules.table import find_axes
from dynpool.graph.dims import Atom, Dim
from dynpool.graph.tracer import trace

NUMBER = Dim((Atom(12, None, 12),))


@pytest.fixture
def c() -> Context:
    """The context of the second of two layers, a pool to 12 x 12 pixels."""
    record = trace(nn.Sequential(nn.Identity(), nn.MaxPool2d(2)), (3, 24, 24))
    return Context(record, find_axes(record), record.nodes[-1])


@pytest.fixture
def height(c: Context) -> Dim:
    return c.dims(c.out)[-2]


@pytest.fixture
def width(c: Context) -> Dim:
    return c.dims(c.out)[-1]


def test_a_multiple_of_one_axis_is_an_axis_of_that_ratio(c: Context, height: Dim, width: Dim) -> None:
    assert height.axis is not None
    double = c.single(Dim((*height.atoms, Atom(2))))
    assert double.axis is not None
    assert (double.size, c.classes.base(double.axis)) == (24, (height.axis, Fraction(2)))
    tokens = Dim((*height.atoms, *width.atoms))
    assert c.single(tokens) is tokens
    assert c.single(height) is height


def test_parts_of_a_split_are_the_axis_again_once_all_of_them_are_joined(c: Context, height: Dim) -> None:
    blocks, inner = c.cut(Atom(12, height.axis, 24), (3, 6), (4, 4))
    assert blocks.axis is not None
    assert (blocks.size, inner) == (3, Atom(4, None, 4))
    assert c.classes.base(blocks.axis) == (height.axis, Fraction(1, 4))
    assert c.classes.multiple(height.axis or 0) == 4
    assert c.rejoined(Dim((blocks, inner))).axis == height.axis
    half = Dim((blocks, Atom(2)))
    assert c.rejoined(half) is half


def test_a_split_of_which_nothing_is_known_pins(c: Context, height: Dim) -> None:
    assert c.cut(height.atoms[0], (3, None), (4, None)) == (Atom(3), Atom(4))
    assert c.classes.pinned(height.axis or 0) == "split by a view into blocks of 4 in 1 (aten.max_pool2d_with_indices)"


def test_two_axes_that_meet_become_one(c: Context, height: Dim, width: Dim) -> None:
    c.unify(height, width, "met")
    assert c.classes.find(height.axis or 0) == c.classes.find(width.axis or 0)
    assert c.classes.pinned(height.axis or 0) is None


def test_an_axis_that_meets_a_number_is_pinned_with_the_reason(c: Context, height: Dim, width: Dim) -> None:
    assert c.unify(NUMBER, height, "combined with a table") == height
    assert (c.classes.pinned(height.axis or 0) or "").startswith("combined with a table in 1 ")
    assert c.classes.pinned(width.axis or 0) is None


def test_dimensions_split_in_different_ways_pin_each_other(c: Context, height: Dim, width: Dim) -> None:
    c.unify(Dim((*height.atoms, Atom(5))), Dim((Atom(5), *width.atoms)), "met")
    assert all("split differently" in (c.classes.pinned(d.axis or 0) or "") for d in (height, width))


def test_of_equal_dimensions_the_one_that_says_more_is_kept(height: Dim) -> None:
    tokens = Dim((*height.atoms, Atom(1, 7)))
    assert more_specific(NUMBER, height) == more_specific(height, NUMBER) == height
    assert more_specific(height, tokens) == more_specific(tokens, height) == tokens
