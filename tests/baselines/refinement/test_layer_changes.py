"""Changes of single layers: what a changed layer keeps, and errors for layers that a change does not fit."""

import json
from typing import Literal

import pytest
import torch
from torch import nn

from dynpool.baselines.refinement.layer_changes import LayerChange, change_layer

Mode = Literal["zeros", "reflect", "replicate", "circular"]


def test_a_new_window_keeps_everything_else() -> None:
    modes: list[Mode] = ["zeros", "reflect", "replicate", "circular"]
    for mode in modes:
        before = nn.Conv2d(
            4, 6, 5, 2, padding=2, dilation=2, groups=2, bias=False, padding_mode=mode, dtype=torch.float64
        )
        model = nn.Sequential(before).eval()
        change_layer(model, LayerChange("0", "window", (5, 5, 2, 2, 2, 2), (3, 1, 1, 1, 1, 0)))
        (layer,) = model
        assert isinstance(layer, nn.Conv2d)
        assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 1), (1, 1), (1, 0))
        assert (layer.padding_mode, layer.groups, layer.dilation, layer.bias) == (mode, 2, (2, 2), None)
        assert layer.weight.shape == (6, 2, 3, 1)
        assert layer.weight.dtype == torch.float64
        assert not layer.training


def test_the_edge_is_padded_as_before() -> None:
    """A map of ones stays constant under circular padding, and does not under zeros."""
    cases: list[tuple[Mode, bool]] = [("circular", True), ("zeros", False)]
    for mode, constant in cases:
        model = nn.Sequential(nn.Conv2d(1, 1, 5, padding=2, padding_mode=mode))
        change_layer(model, LayerChange("0", "window", (5, 5, 1, 1, 2, 2), (3, 3, 1, 1, 1, 1)))
        y = model(torch.ones(1, 1, 6, 6))
        assert torch.allclose(y, y[..., :1, :1].expand_as(y)) == constant


def test_changes_are_restored_from_json() -> None:
    change = LayerChange("stem.conv", "stride", (2, 2), (1, 1))
    assert LayerChange.from_dict(json.loads(json.dumps(change.to_dict()))) == change
    assert change.cells() == ("stem.conv", "stride", "2", "->", "1")
    with pytest.raises(ValueError, match=r"attribute must be one of stride, window, .*, got 'colour'"):
        LayerChange.from_dict(change.to_dict() | {"attribute": "colour"})
    with pytest.raises(KeyError, match="after"):
        LayerChange.from_dict({k: v for k, v in change.to_dict().items() if k != "after"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (LayerChange("1", "stride", (2, 2), (1, 1)), "Sequential has no layer '1'"),
        (LayerChange("0", "stride", (3, 3), (1, 1)), "stride of 0 is 2 in this Sequential, but the plan expects 3"),
        (LayerChange("0", "max_pool", (0,), (2,)), "max_pool of 0 is missing"),
    ],
)
def test_a_change_for_another_layer_is_an_error(change: LayerChange, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change_layer(nn.Sequential(nn.Conv2d(1, 1, 3, stride=2)), change)
