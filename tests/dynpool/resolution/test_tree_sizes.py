"""All sizes follow from the input's down the tree: by alphas, by fixed sizes, by the arithmetic of layers."""

import pytest

import dynpool
from dynpool.baselines import ShapeAdaptor2d
from dynpool.resolution.nodes import Derived, Learned, Pinned, ResolutionNode
from dynpool.resolution.tree_sizes import chain_factors, sizes_with_fractions
from dynpool.size_math import output_size

NODES = [
    ResolutionNode("input", None, (32, 48)),
    ResolutionNode("a", 0, (16, 24), Learned((2, 1), dynpool.DynOPool2d(2.0))),
    ResolutionNode("b", 1, (8, 12), Derived(lambda size: (size[0] // 2, size[1] // 2))),
    ResolutionNode("c", 2, (4, 6), Learned(resizer=dynpool.DynOPool2d(2.0), lowest=(3, 3))),
    ResolutionNode("d", 2, (7, 7), Pinned((7, 7))),
]


def sizes(hw: tuple[int, int], *values: tuple[float, float], **options: object) -> list[tuple[int, ...]]:
    return [pixels for pixels, _ in sizes_with_fractions(NODES, hw, values, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize("hw", [(32, 48), (33, 20), (64, 8)])
def test_each_size_is_that_of_the_parent_by_the_rule(hw: tuple[int, int]) -> None:
    found = sizes(hw, (1.7, 2.0), (2.5, 1.0))
    assert found[0] == hw
    assert found[1] == (2 * round(output_size(hw[0], 1.7) / 2), output_size(hw[1], 2.0))
    assert found[2] == (found[1][0] // 2, found[1][1] // 2)
    assert found[3] == (max(output_size(found[2][0], 2.5), 3), max(output_size(found[2][1], 1.0), 3))
    assert found[4] == (7, 7)


def test_sizes_that_are_given_or_tried_lead_on_whatever_the_alphas() -> None:
    values = ((2.0, 2.0), (2.0, 2.0))
    assert sizes((32, 48), *values, learned_sizes={1: (20, 20)}) == [(32, 48), (20, 20), (10, 10), (5, 5), (7, 7)]
    assert sizes((32, 48), *values, given={2: (6, 6)}) == [(32, 48), (16, 24), (6, 6), (3, 3), (7, 7)]


def test_a_resolution_without_a_rule_is_refused() -> None:
    for rule in (None, Learned()):
        nodes = [NODES[0], ResolutionNode("a", 0, (16, 24), rule)]
        with pytest.raises(ValueError, match="resolution 'a' has neither an alpha, a fixed size nor a rule"):
            sizes_with_fractions(nodes, (32, 48), [])


def test_only_resizers_that_look_at_chains_have_factors() -> None:
    assert chain_factors(NODES, (32, 48), [(2.0, 2.0), (2.0, 2.0)]) == {}
    limited = ShapeAdaptor2d(limit=4)
    nodes = [NODES[0], ResolutionNode("a", 0, (16, 24), Learned(resizer=limited))]
    value = (0.0, 0.0)
    factor = chain_factors(nodes, (32, 48), [value])[type(limited)]
    h, w = (n / s * f for n, s, f in zip((32, 48), limited.strides(value), factor, strict=True))
    assert max(h, w) == pytest.approx(4)
