"""Dimensions are products of atoms: their sizes, in both traces, are the products of those of their atoms."""

import pytest

from dynpool.graph.dims import Atom, Dim, constant_dims


def test_a_dimension_has_the_size_of_its_atoms_in_both_traces():
    tokens = Dim((Atom(3, 0, 5), Atom(4, 1, 6)))
    assert (tokens.size, tokens.other, tokens.axes, tokens.axis) == (12, 30, (0, 1), None)
    assert Dim((Atom(3, 0), Atom(4, 1, 6))).other is None
    assert (Dim().size, Dim().other, Dim().axis) == (1, 1, None)


def test_one_axis_alone_is_the_dimensions_own():
    assert Dim((Atom(7, 2),)).axis == 2
    assert Dim((Atom(7, 2), Atom(2))).axis is None


@pytest.mark.parametrize(
    ("atom", "constant"),
    [(Atom(3), True), (Atom(3, None, 3), True), (Atom(3, None, 4), False), (Atom(3, 0), False), (Atom(3, 0, 3), False)],
)
def test_a_factor_is_constant_if_it_belongs_to_no_axis_and_does_not_vary(atom, constant):
    assert atom.constant is constant


def test_constant_dimensions_have_the_sizes_of_the_shape_and_none_of_one_pixel_unless_it_grows():
    dims = constant_dims((1, 3, 1, 5), (1, 3, 2, 8))
    assert [dim.size for dim in dims] == [1, 3, 1, 5]
    assert [dim.other for dim in dims] == [1, 3, 2, 8]
    assert [len(dim.atoms) for dim in dims] == [0, 1, 1, 1]
    assert constant_dims((1, 3))[1].other is None
