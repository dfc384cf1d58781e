"""Stride-1 forms of strided layers hold every window of the layer, whatever it pads, counts and dilates."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dynpool.resolution.stride_forms import (
    ResizeAfter,
    Strided,
    WindowPool,
    align,
    open_to_fx,
    resize_before,
    set_native,
    stride_one,
)


def random_map(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        (nn.MaxPool2d((2, 3), (2, 2), (1, 1)), WindowPool("max", (2, 3), low=(1, 1), high=(1, 1))),
        (nn.MaxPool2d(3, 2, 1, dilation=2), WindowPool("max", (3, 3), low=(1, 1), high=(1, 1), dilation=(2, 2))),
        (nn.AvgPool2d(3, 2), WindowPool("mean", (3, 3))),
        (
            nn.AvgPool2d(3, 2, 1),
            WindowPool("mean", (3, 3), low=(1, 1), high=(1, 1), counted=((1, 1), (1, 1))),
        ),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), WindowPool("mean", (3, 3), low=(1, 1), high=(1, 1))),
        (
            nn.AvgPool2d(2, 2, divisor_override=3),
            WindowPool("mean", (2, 2), divisor=3),
        ),
        # 8 pixels: with ceil_mode the last window begins inside and extends over the border by one
        (nn.AvgPool2d(3, 2, ceil_mode=True), WindowPool("mean", (3, 3), high=(1, 1))),
    ],
)
@pytest.mark.parametrize("shape", [(2, 3, 8, 10), (3, 8, 10)])
def test_every_second_window_at_stride_one_is_what_the_strided_pool_gives(layer, form, shape):
    x = random_map(*shape)
    torch.testing.assert_close(form(x)[..., ::2, ::2], layer(x))


def test_a_layer_at_stride_one_has_the_pixels_between_those_of_its_own_stride():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, stride=2, padding=1).double()
    x = random_map(1, 3, 9, 8)
    own = layer(x)
    assert stride_one(layer) is layer
    torch.testing.assert_close(layer(x)[..., ::2, ::2], own)
    pool: Any = stride_one(nn.MaxPool2d(2, ceil_mode=True))
    assert (pool.stride, pool.ceil_mode) == (1, False)


def test_a_map_is_aligned_by_leaving_out_its_first_pixels_and_repeating_its_last():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    assert torch.equal(align(x, [0, 0], [0, 0]), x)
    assert align(x, [1, 2], [1, 0])[0, 0].tolist() == [[6, 7], [10, 11], [10, 11]]


def test_switching_back_and_forth_between_the_own_stride_and_the_resizer_changes_nothing():
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, stride=2).double()
    x = random_map(1, 2, 9, 9)
    own = layer(x)
    strided = Strided((2, 2), {"stride": (2, 2)})
    layer.register_module("resize", nn.AvgPool2d(3))
    layer.register_forward_hook(ResizeAfter())
    for _ in range(2):
        set_native(layer, strided, native=True)
        assert torch.equal(layer(x), own)
        set_native(layer, strided, native=False)
        assert layer(x).shape == (1, 3, 2, 2)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(3, 3, 3), nn.MaxPool2d(3, 1), nn.AvgPool2d(3, 1), nn.LPPool2d(2, 3, 1)],
    ids=lambda m: type(m).__name__,
)
def test_torch_fx_records_the_resize_before_a_layer(layer: Any):
    layer = copy.deepcopy(layer).double()
    layer.register_module("resize", nn.AvgPool2d(2))
    layer.register_forward_pre_hook(resize_before, with_kwargs=True)
    open_to_fx(layer)
    x = random_map(1, 3, 8, 8)
    traced = torch.fx.symbolic_trace(nn.Sequential(layer))
    assert "0.resize" in {node.target for node in traced.graph.nodes}
    torch.testing.assert_close(traced(x), layer(x))
