"""Convolutions replaced by ones that learn their kernel: the maps they see, hooks, children, freezing."""

from typing import Any

import pytest
import torch
from torch import nn

import dynpool
from dynpool.baselines import NJetConv2d
from dynpool.conversion import replace_convolutions

SIZE = (3, 24, 20)


def njet(layer, map_size):
    return NJetConv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)


class Twice(nn.Module):
    """A layer that runs on a map and on half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(nn.functional.max_pool2d(self.conv(x), 2))


def test_a_layer_that_runs_twice_is_replaced_once_and_judged_by_its_smaller_map():
    seen = []

    def make(layer, map_size):
        seen.append(map_size)
        return njet(layer, map_size)

    made: Any
    made, report = replace_convolutions(Twice(), SIZE, make)
    assert seen == [(12, 10)]
    assert [(row.name, row.map, row.kernel, row.live) for row in report.rows] == [("conv", (12, 10), (3, 3), (7, 7))]
    assert type(made.conv) is NJetConv2d


def test_a_reason_of_the_maker_is_in_the_report():
    net: Any = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    made: Any
    made, report = replace_convolutions(
        net, SIZE, lambda layer, size: "odd" if layer.in_channels == 3 else njet(layer, size)
    )
    assert [row.why for row in report.rows] == ["odd", ""]
    assert [type(layer) for layer in made] == [nn.Conv2d, NJetConv2d]


def test_one_layer_in_two_places_stays_one():
    layer = nn.Conv2d(3, 3, 3, padding=1)
    made: Any
    made, report = replace_convolutions(nn.Sequential(layer, nn.ReLU(), layer), SIZE, njet)
    assert made[0] is made[2]
    assert len(report.replaced) == 1


def test_the_model_itself_may_be_the_convolution():
    made: Any
    made, report = replace_convolutions(nn.Conv2d(3, 3, 3, padding=1), SIZE, njet)
    assert type(made) is NJetConv2d
    assert report.rows[0].name == "Conv2d"


def test_children_and_hooks_move_along_and_are_kept_by_freezing():
    net: Any = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    net[0].register_module("extra", nn.Linear(2, 2))
    net[0].register_forward_hook(lambda module, args, out: out + module.extra.bias.sum())
    made: Any
    made, _ = replace_convolutions(net, SIZE, njet)
    assert "0.extra.weight" in made.state_dict()
    x = torch.randn(1, *SIZE)
    plain: Any = dynpool.freeze(made)
    assert [type(module) for module in plain] == [nn.Conv2d]
    assert torch.equal(plain[0].extra.weight, net[0].extra.weight)
    torch.testing.assert_close(plain(x), made(x))
    with torch.no_grad():
        plain[0].extra.bias.add_(1.0)
    torch.testing.assert_close(plain(x), made(x) + 2.0)


def test_replaced_ones_are_left_alone_and_none_at_all_is_an_error():
    made: Any
    made, _ = replace_convolutions(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)), SIZE, njet)
    with pytest.raises(ValueError, match="left alone: it learns its kernel already"):
        replace_convolutions(made, SIZE, njet)


def test_a_frozen_model_takes_the_weights_of_another_of_the_same_kernels():
    first, second = (
        replace_convolutions(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)), SIZE, njet)[0] for _ in range(2)
    )
    plain: Any = dynpool.freeze(first)
    plain.load_state_dict(dynpool.freeze(second).state_dict())
    x = torch.randn(1, *SIZE)
    torch.testing.assert_close(plain(x), second(x))
