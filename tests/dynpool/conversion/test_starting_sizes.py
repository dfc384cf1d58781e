"""Warnings where a converted model does not start at the sizes of the original."""

import warnings

import pytest
from torch import nn

import dynpool
from dynpool.conversion.starting_sizes import warn_of_changes
from dynpool.graph import trace
from dynpool.resolution import ResolutionTree


def test_preserve_warns_where_a_size_cannot_start_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
    with pytest.warns(UserWarning, match="1 at 2x2 instead of 1x1 pixels"):
        dynpool.convert(model, (3, 4, 4), preserve=True)


def test_a_multiple_that_makes_maps_twice_as_large_is_warned_of() -> None:
    net = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2))
    said = r"^multiple_of=\(16, 1\) is larger than .*: 1 starts at 16x6 instead of 6x6 pixels$"
    with pytest.warns(UserWarning, match=said):
        learned = dynpool.convert(net, (3, 24, 24), multiple_of=(16, 1))
    assert dynpool.sizes(learned, (3, 24, 24))["1"] == (16, 6)


@pytest.mark.parametrize(
    ("preserve", "said"), [(False, ""), (True, ", so that preserve=True cannot keep its function")]
)
def test_maps_of_other_sizes_than_in_the_original_are_named(preserve: bool, said: str) -> None:
    size = (3, 9, 8)
    before = trace(nn.Sequential(nn.MaxPool2d(2), nn.Identity()), size)
    after = trace(nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Identity()), size)
    tree = ResolutionTree(size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_changes(before, before, tree, [], "Sequential", preserve=preserve)
    start = rf"^3 maps of the converted Net differ in size from those of the original{said}: "
    with pytest.warns(UserWarning, match=start + r"0 returns \(\(1, 3, 5, 4\),\) instead of \(\(1, 3, 4, 4\),\); 1 "):
        warn_of_changes(before, after, tree, [], "Net", preserve=preserve)
