"""Sizes of one resolution with all others held, and the alphas that give them."""

import functools

import pytest
import torch

import dynpool
from dynpool.analysis.sensitivity.moves import Direction, alphas_with, directions, moved, pixels_per_alpha
from dynpool.baselines import DiffStride2d, ShapeAdaptor2d
from dynpool.resizers import host_alphas
from dynpool.resolution import resolution_tree
from tests.networks import two_resizers

HW = (32, 32)


def tree_of(**options):
    tree = resolution_tree(dynpool.convert(two_resizers(), (3, *HW), **options))
    assert tree is not None
    return tree, host_alphas(tree.owners)


def test_one_direction_for_each_axis_or_for_both():
    labels = [(d.learned, d.label) for d in directions(*tree_of())]
    assert labels == [(0, "height"), (0, "width"), (1, "height"), (1, "width")]
    for pool in (ShapeAdaptor2d, functools.partial(DiffStride2d, shared=True)):
        assert [d.label for d in directions(*tree_of(pool=pool))] == ["both", "both"]


@pytest.mark.parametrize(
    ("count", "single", "together"), [(1, ["length"], "length"), (3, ["depth", "height", "width"], "all")]
)
def test_directions_of_sequences_and_volumes_have_their_names(count, single, together):
    assert [Direction(0, k, (k,), count).label for k in range(count)] == single
    assert Direction(0, 0, tuple(range(count)), count).label == together


def test_children_are_held_by_their_alphas():
    tree, values = tree_of()
    found = alphas_with(tree, HW, values, {1: (18, 16), 2: (8, 8)})
    assert found == [pytest.approx((32 / 18, 2.0)), pytest.approx((18 / 8, 2.0))]
    assert tree.sizes_at(HW, found) == [HW, (18, 16), (8, 8)]
    assert alphas_with(tree, HW, values, {1: (16, 16), 2: (8, 8)}) == values, "the very same"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({1: (0, 16), 2: (8, 8)}, "1 would have 0x16 pixels"),
        ({1: (6, 16), 2: (1, 8)}, "2 would have 2x8 pixels, not 1x8"),
        ({1: (70, 16), 2: (8, 8)}, r"1 at 70x16 pixels would leave the bounds of its scale factor, 0\.125 to 2"),
        ({1: (16, 16), 2: (8, 40)}, "2 at 8x40 pixels would leave the bounds"),
    ],
)
def test_why_there_are_no_such_alphas(sizes, said):
    tree, values = tree_of()
    with pytest.raises(ValueError, match=said):
        alphas_with(tree, HW, values, sizes)


def test_sizes_that_move_together_cannot_be_held():
    """A memory-bounded shape adaptor scales all sizes of the network by one factor."""
    tree, values = tree_of(pool=functools.partial(ShapeAdaptor2d, limit=9))
    sizes = dict(enumerate(tree.sizes_at(HW, values)))
    with pytest.raises(ValueError, match=r"would have \d+x\d+ pixels, not 17x17"):
        alphas_with(tree, HW, values, {1: moved(sizes[1], Direction(0, 0, (0, 1)), 1), 2: sizes[2]})


@pytest.mark.parametrize("pool", [dynpool.DynOPool2d, ShapeAdaptor2d, functools.partial(DiffStride2d, shared=True)])
def test_pixels_per_alpha_is_the_derivative_of_the_size_without_rounding(pool):
    tree, values = tree_of(pool=pool)
    for direction in directions(tree, values):
        index, _, resizer = tree.learned[direction.learned]
        above = tree.resizer_input_size(index, HW, values)
        alpha = torch.tensor(values[direction.learned], dtype=torch.float64)[: resizer.shared_alpha().numel()]

        def size(step, direction=direction, above=above, alpha=alpha, resizer=resizer):
            moved_alpha = alpha.clone()
            moved_alpha[direction.entry] += step
            strides = resizer.learned_strides(moved_alpha)
            return sum(above[axis] / strides[axis].item() for axis in direction.axes) / len(direction.axes)

        expected = (size(1e-5) - size(-1e-5)) / 2e-5
        assert pixels_per_alpha(tree, HW, values, direction) == pytest.approx(expected, rel=1e-5)


def test_steps_move_the_axes_of_a_direction():
    assert moved((8, 9), Direction(0, 1, (1,)), -2) == (8, 7)
    assert moved((8, 9), Direction(0, 0, (0, 1)), 2) == (10, 11)
