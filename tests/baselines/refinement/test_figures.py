"""The figures that refinement compares, by hand; and models without memory."""

from typing import Any

import pytest
import torch
from torch import nn

from dynpool.baselines.refinement.figures import Figures, measure, on_meta_device
from dynpool.graph.tracer import trace

SIZE = (3, 16, 12)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, (3, 1), bias=False))


def test_figures_are_those_counted_by_hand() -> None:
    model = net()
    found = measure(model, trace(model, SIZE))
    assert found.i_min == (3 + 2 * 2, 3)
    assert found.gmacs == pytest.approx((8 * 6 * 4 * 27 + 6 * 6 * 5 * 12) / 1e9)
    assert found.parameters == 4 * 27 + 4 + 2 * 4 + 5 * 12


@pytest.mark.parametrize(
    ("i_min", "fits"), [((15.9, 11.9), True), ((16, 11), False), ((15, 12), False), ((float("inf"), 1), False)]
)
def test_a_network_fits_if_i_min_is_below_the_image_along_both_axes(i_min: tuple[float, float], fits: bool) -> None:
    assert Figures(i_min, 0.0, 0).fits(SIZE) is fits


def test_a_copy_without_memory_has_the_same_figures_and_leaves_the_model_alone() -> None:
    model = net()
    model[2].weight.requires_grad_(False)
    empty = on_meta_device(model)
    assert all(t.is_meta for t in (*empty.parameters(), *empty.buffers()))
    assert [p.requires_grad for p in empty.parameters()] == [p.requires_grad for p in model.parameters()]
    graph = trace(model, SIZE)
    assert measure(empty, graph) == measure(model, graph)
    assert not any(t.is_meta for t in model.parameters())
    assert trace(empty, SIZE).input_size == SIZE


def test_weights_that_two_layers_share_are_shared_in_the_copy() -> None:
    model: Any = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1))
    model[1].weight = model[0].weight
    empty: Any = on_meta_device(model)
    assert empty[0].weight is empty[1].weight
    assert torch.equal(model[0].weight, model[1].weight)
