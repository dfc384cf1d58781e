"""The arithmetic of layers that keep theirs, and plans placed at another input size."""

from fractions import Fraction

import pytest
from torch import nn

from dynpool.conversion.plan import Arithmetic, Ratio, ResolutionPlan, alike
from dynpool.graph.axes import Resize
from dynpool.graph.tracer import trace
from dynpool.resolution.nodes import Derived, Learned, Pinned, ResolutionNode


def resize(layer: nn.Module, hw: tuple[int, int] = (32, 48)) -> Resize:
    return trace(nn.Sequential(nn.Conv2d(3, 4, 1), layer), (3, *hw)).resizes[0]


@pytest.mark.parametrize(
    "layer", [nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.AvgPool2d(2, ceil_mode=True)]
)
def test_a_layers_arithmetic_is_its_own_at_any_size(layer: nn.Module) -> None:
    arithmetic = Arithmetic(resize(layer))
    for hw in ((32, 48), (33, 47), (9, 10)):
        assert arithmetic(hw) == resize(layer, hw).out_size


def test_pixels_beyond_the_resolutions_are_added_before_and_taken_off_behind() -> None:
    pool = resize(nn.MaxPool2d(2))
    assert Arithmetic(pool, before=(2, 0), after=(1, 1))((8, 8)) == (4, 3)


def test_layers_are_alike_if_they_give_the_same_sizes() -> None:
    two, ceil = Arithmetic(resize(nn.MaxPool2d(2))), Arithmetic(resize(nn.MaxPool2d(2, ceil_mode=True)))
    assert alike(two, Arithmetic(resize(nn.Conv2d(4, 4, 2, stride=2))))
    assert not alike(two, ceil)
    assert alike(ceil, Ratio((Fraction(1, 2), Fraction(1, 2))))
    assert Ratio((Fraction(1, 2), Fraction(3))).steps == (Fraction(2), Fraction(1, 3))


def test_a_plan_is_placed_at_another_size_by_the_layers_of_the_given_model() -> None:
    pool = resize(nn.MaxPool2d(2))
    own = Arithmetic(pool)
    plan = ResolutionPlan(
        [
            ResolutionNode("input", None, (32, 48)),
            ResolutionNode("learned", 0, (16, 24), Learned()),
            ResolutionNode("pinned", 1, (8, 12), Pinned((8, 12))),
            ResolutionNode("derived", 2, (4, 6), Derived(own)),
        ],
        original={1: own, 2: own, 3: own},
    )
    plan.place_at({}, (20, 21))
    assert [node.reference for node in plan.nodes] == [(20, 21), (10, 10), (5, 5), (2, 2)]
    assert plan.nodes[2].rule == Pinned((5, 5))
    assert isinstance(plan.nodes[3].rule, Derived)
    assert plan.nodes[3].rule.rule((8, 8)) == (4, 4)
