"""A plan applied to a layer: the resizer stands in its place, behind it or before it, wherever the layer is used."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.conversion.registry import Plan
from dynpool.conversion.rewrite import replace_module, rewrite
from dynpool.graph.axes import Resize
from dynpool.resolution.stride_forms import stride_one

STRIDED = Resize(0, "convolution", "1", 0, (None, None), (None, None), (8, 8), (4, 4), (3, 3), (2, 2), (1, 1))


def rewritten(plan: Plan) -> tuple[Any, str, Any]:
    """A strided convolution behind another, rewritten with a pool that halves its map."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, 2, 1)).eval()
    path, strided = rewrite(dict(model.named_modules()), STRIDED, plan, nn.AvgPool2d(2))
    return model, path, strided


def test_instead_of_the_layer_stands_the_resizer() -> None:
    model, path, strided = rewritten(Plan("instead", "mean"))
    assert isinstance(model[1], nn.AvgPool2d)
    assert (path, strided) == ("1", None)


@pytest.mark.parametrize("reduce", ["max", "sample"])
def test_behind_the_layer_its_map_at_stride_one_is_resized(reduce: Any) -> None:
    model, path, strided = rewritten(Plan("after", reduce, stride_one))
    x = torch.randn(1, 3, 8, 8)
    weight, bias = model[1].weight, model[1].bias
    whole = nn.functional.conv2d(model[0](x), weight, bias, 1, 1)
    torch.testing.assert_close(model(x), nn.functional.avg_pool2d(whole, 2))
    assert path == "1.resize"
    assert model.get_submodule(path).kernel_size == 2
    if reduce == "sample":  # which a stride does as well, so it is kept to be put back
        assert (strided.stride, strided.attributes) == ((2, 2), {"stride": (2, 2)})
    else:
        assert strided is None


def test_before_the_layer_its_input_is_resized() -> None:
    model, path, strided = rewritten(Plan("before", "mean", stride_one))
    x = torch.randn(1, 3, 8, 8)
    half = nn.functional.avg_pool2d(model[0](x), 2)
    torch.testing.assert_close(model(x), nn.functional.conv2d(half, model[1].weight, model[1].bias, 1, 1))
    assert (path, strided) == ("1.resize", None)


def test_a_layer_that_has_several_owners_is_replaced_in_all_of_them() -> None:
    shared = nn.ReLU()
    model = nn.ModuleDict({"a": nn.Sequential(shared, nn.Tanh()), "b": nn.Sequential(nn.Tanh(), shared)})
    modules, new = dict(model.named_modules()), nn.Sigmoid()
    replace_module(modules, "a.0", new)
    assert model.get_submodule("a.0") is model.get_submodule("b.1") is modules["a.0"] is new


class ByKeyword(nn.Module):
    """Calls every layer and function with `input=`, its pool twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(2), nn.AvgPool2d(3, 2, 1)
        self.patches, self.up = nn.Conv2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 8, 2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool(input=self.stem(input=x))
        low = self.pool(input=x) + self.patches(input=x)
        high = x + self.up(input=low) + F.interpolate(input=low, scale_factor=2)
        return high, self.last(input=F.max_pool2d(input=low, kernel_size=2))


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("preserve", [False, True])
@torch.no_grad()
def test_layers_are_called_by_keyword(order: Literal["after", "before"], preserve: bool) -> None:
    torch.manual_seed(0)
    model, x = ByKeyword().eval(), torch.randn(1, 3, 64, 96)
    learned = dynpool.convert(model, (3, 64, 96), order=order, preserve=preserve)
    if preserve:
        for ours, theirs in zip(learned(x), model(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    found = {name: resolution.size for name, resolution in dynpool.resolutions(learned).items()}
    wanted = {name: (size[0] + 1, size[1] - 1) for name, size in found.items() if size is not None}
    dynpool.set_sizes(learned, wanted)
    high, last = learned(x)
    assert high.shape[2:] == next(size for name, size in wanted.items() if name.startswith("pool"))
    assert last.shape[2:] == wanted["last"]
    for ours, theirs in zip(dynpool.freeze(learned)(x), learned(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
