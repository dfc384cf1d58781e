"""Images are interpolated, as the first step of a network, to the size at which it costs nearest to a budget."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dynpool
from dynpool.analysis import receptive_field
from dynpool.training.methods import prepare
from dynpool.training.models import narrow_vgg
from dynpool.training.resized_images import image_size_for, resize_images

SIZE = (1, 32, 32)


def cost(model, height, width):
    return dynpool.count_macs(model, (1, height, width)).gmacs


def test_the_size_is_the_nearest_of_all(model):
    costs = {side: cost(model, side, side) for side in range(4, 80)}
    for gmacs in (0.3 * costs[32], 0.95 * costs[32], costs[32], 1.9 * costs[32], 1.001 * costs[64]):
        found, missed = image_size_for(model, SIZE, gmacs)
        nearest = min(costs, key=lambda side: abs(math.log(costs[side] / gmacs)))
        assert found == (nearest, nearest)
        assert missed == pytest.approx(math.log(costs[nearest] / gmacs))


def test_other_images_keep_their_proportions(model):
    found, _ = image_size_for(model, (1, 24, 36), cost(model, 34, 51))
    assert found == (34, 51)


@pytest.mark.parametrize("factor", [1e-6, 100.0])
def test_a_cost_out_of_reach_is_refused(model, factor):
    with pytest.raises(ValueError, match=r"gmacs_budget is .*, which is out of reach: the nearest images .* cost"):
        image_size_for(model, SIZE, factor * cost(model, 32, 32))


def test_a_network_of_one_input_size_has_one_cost():
    fixed = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 32 * 32, 10))
    own = cost(fixed, 32, 32)
    assert image_size_for(fixed, SIZE, own) == ((32, 32), 0.0)
    with pytest.raises(ValueError, match=r"of 32x32 pixels, cost"):
        image_size_for(fixed, SIZE, 1.5 * own)


@pytest.mark.parametrize("size", [(44, 44), (24, 24), (33, 47), (31, 30)])
def test_the_network_gets_the_interpolated_images(model, size):
    images = torch.rand(3, *SIZE)
    shrinks = min(size) < 32
    expected = model.eval()(F.interpolate(images, size, mode="bilinear", antialias=shrinks))
    names = list(model.state_dict())
    resize_images(model, (32, 32), size)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == names
    assert cost(model, 32, 32) == cost(narrow_vgg(10, 1, widths=[4, 6, 8]), *size)


def test_factors_give_every_size_in_whole_pixels():
    for side in range(1, 257):
        seen: list[torch.Size] = []
        watched = nn.Identity()
        resize_images(watched, (32, 49), (side, 257 - side))
        watched.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out.shape[-2:]))
        watched(torch.zeros(1, 1, 32, 49))
        assert seen == [(side, 257 - side)]


def test_a_resized_run_has_the_fields_of_the_design_in_pixels_of_its_own_images(model, tiny):
    budget = cost(model, 64, 64)
    prepared = prepare(model, tiny("--method", "resized", "--gmacs_budget", str(budget)), SIZE)
    assert prepared.model is model
    assert "images of 64x64 pixels; sizes cost +0.0%" in prepared.summary
    designed = receptive_field(narrow_vgg(10, 1, widths=[4, 6, 8]), (1, 64, 64)).i_min[0]
    assert receptive_field(model, SIZE).i_min[0] == pytest.approx((designed + 1) / 2 + 0.5, abs=1)
    assert list(dynpool.sizes(model, SIZE).values()) == [(32, 32), (64, 64), (32, 32), (16, 16)]
    assert [g["name"] for g in prepared.groups] == ["weights"]


def test_without_a_budget_nothing_is_resized(model, tiny):
    prepared = prepare(model, tiny("--method", "resized"), SIZE)
    assert cost(prepared.model, 32, 32) == cost(narrow_vgg(10, 1, widths=[4, 6, 8]), 32, 32)
    assert "keep their size" in prepared.summary
