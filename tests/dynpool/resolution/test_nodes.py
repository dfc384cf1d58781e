"""How the size of a resolution comes about, and what a resizer makes of it."""

import math

import pytest

import dynpool
from dynpool.resolution.nodes import Derived, Learned, Pinned, ResolutionNode, Slot, bounds_around, learned_nodes


@pytest.mark.parametrize(
    ("size", "admitted"), [((10, 11), (10, 12)), ((3, 3), (6, 4)), ((50, 50), (50, 20)), ((11, 13), (12, 12))]
)
def test_a_learned_size_is_a_multiple_within_the_limits(size: tuple[int, int], admitted: tuple[int, int]) -> None:
    rule = Learned(multiple=(2, 4), lowest=(6, 1), highest=(math.inf, 20))
    assert rule.admit(size) == admitted
    assert rule.admit(admitted) == admitted


def test_the_admitted_sizes_are_said_in_words() -> None:
    assert Learned((2, 4)).admitted() == "(height, width) in multiples of (2, 4) pixels"
    rule = Learned(lowest=(6, 3), highest=(6, math.inf), limited_by="it pads by reflection")
    assert rule.admitted() == (
        "(height, width) in multiples of (1, 1) pixels, height 6, width at least 3 (it pads by reflection)"
    )
    rule = Learned(lowest=(1, 3), highest=(math.inf, 20))
    assert rule.admitted().endswith(", width at least 3 and at most 20")


def test_learned_resolutions_are_those_with_a_resizer() -> None:
    pool = dynpool.DynOPool2d(2.0)
    nodes = [
        ResolutionNode("input", None, (32, 32)),
        ResolutionNode("planned", 0, (16, 16), Learned()),
        ResolutionNode("pinned", 0, (16, 16), Pinned((16, 16))),
        ResolutionNode("derived", 0, (16, 16), Derived(lambda size: size)),
        ResolutionNode("learned", 0, (16, 16), Learned(resizer=pool)),
    ]
    assert [(place, found) for place, _, found in learned_nodes(nodes)] == [(4, pool)]


def test_a_slot_gives_the_size_of_its_resolution_times_and_plus_pixels_but_at_least_one() -> None:
    slot = Slot(0, offset=(-1, 2), multiple=(2, 1))
    assert slot.target((8, 8)) == (15, 10)
    assert Slot(0, offset=(-9, 0)).target((4, 4)) == (1, 4)
    slot.fill((8, 8))
    assert slot.size == (15, 10)


@pytest.mark.parametrize("alpha", [(2.0, 2.0), (16.0, 0.25), (1.0, 3.0)])
def test_bounds_leave_a_factor_of_two_on_both_sides(alpha: tuple[float, float]) -> None:
    low, high = bounds_around(alpha)
    assert all(low <= 1 / (2 * a) and 2 / a <= high for a in alpha)
    assert low <= 1 / 8
    assert high >= 2
