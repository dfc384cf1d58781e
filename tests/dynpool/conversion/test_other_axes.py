"""What has other axes than the input of a network: pools and sizes are refused, layers left alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from tests.networks import three_resizers
from tests.networks_of_axes import InceptionTime, ResNet1d, UNet3d


def test_a_pool_of_other_axes_is_refused() -> None:
    message = r"pool is a DynOPool2d, for \(height, width\), but input_size=\(2, 96\) has \(length,\)"
    with pytest.raises(ValueError, match=message):
        dynpool.convert(ResNet1d(), (2, 96), pool=dynpool.DynOPool2d)
    with pytest.raises(ValueError, match=r"pool is a DynOPool3d, for \(depth, height, width\), but .* has \(height, w"):
        dynpool.convert(three_resizers(), (3, 32, 32), pool=partial(dynpool.DynOPool3d, reduce="mean"))
    with pytest.raises(ValueError, match=r"pool is a DynOPool1d, for \(length,\), but"):
        dynpool.convert(UNet3d(), (1, 8, 12, 16), pool=lambda *args, **how: dynpool.DynOPool1d(**how))


def test_sizes_and_multiples_have_a_number_for_each_axis() -> None:
    model = dynpool.convert(ResNet1d(), (2, 96), multiple_of=8)
    assert all(size[0] % 8 == 0 for name, size in dynpool.sizes(model, (2, 96)).items() if name != "5.conv1")
    with pytest.raises(
        ValueError, match=r"sizes\['0'\] must be \(length,\), ints of at least 2 pixels, got \(40, 40\)"
    ):
        dynpool.set_sizes(model, {"0": (40, 40)})
    with pytest.raises(
        ValueError, match=r"multiple_of must be a positive int or \(depth, height, width\), got \(2, 2\)"
    ):
        dynpool.convert(UNet3d(), (1, 8, 12, 16), multiple_of=(2, 2))
    volumes = dynpool.convert(UNet3d(), (1, 8, 12, 16), multiple_of=(1, 2, 4))
    assert {n: r.size for n, r in dynpool.resolutions(volumes).items()} == {
        "resize_0": (4, 6, 8),
        "resize_1": (2, 4, 4),
    }


def test_a_network_without_a_downsampling_has_nothing_to_learn() -> None:
    message = r"has no pooling or strided layer along \(length,\) of input_size=\(2, 120\): there is nothing to learn"
    with pytest.raises(dynpool.NothingToLearnError, match=message):
        dynpool.convert(InceptionTime(pools=False), (2, 120))


class OnMapsOfHeightOne(nn.Module):
    """A network of sequences that pools them as maps of height 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool, self.last = nn.Conv1d(2, 4, 3, 2, 1), nn.MaxPool2d((1, 2)), nn.Conv1d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.pool(self.first(x).unsqueeze(2)).squeeze(2)).mean(-1)


def test_layers_of_other_axes_are_left_alone() -> None:
    model = OnMapsOfHeightOne()
    learned = dynpool.convert(model, (2, 64))
    rows = {row.name: row for row in dynpool.conversion_report(learned).rows}
    assert rows["first"].status == "converted"
    assert (rows["pool"].status, rows["pool"].why) == (
        "left alone", r"it is of (height, width), the model's input of (length,)"
    )  # fmt: skip
    dynpool.set_sizes(learned, {"first": (21,)})
    assert dynpool.sizes(learned, (2, 64)) == {"input": (64,), "first": (21,), "pool": (10,)}
    assert learned(torch.randn(1, 2, 64)).shape == (1, 4)


class Called(nn.Module):
    """A pool or an upsampling called along an axis more than the input has."""

    def __init__(self, call, conv):
        super().__init__()
        self.call, self.first, self.last = call, conv(1, 4, 3, padding=1), conv(4, 4, 3, padding=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.call(self.first(x)))


@pytest.mark.parametrize(
    ("call", "conv", "size"),
    [
        (lambda x: F.max_pool3d(x.unsqueeze(2), (1, 2, 2)).squeeze(2), nn.Conv2d, (1, 16, 16)),
        (lambda x: F.avg_pool3d(x.unsqueeze(2), (1, 2, 2)).squeeze(2), nn.Conv2d, (1, 16, 16)),
        (lambda x: F.interpolate(x.unsqueeze(2), scale_factor=(1, 2)).squeeze(2), nn.Conv1d, (1, 32)),
        (lambda x: nn.Upsample(scale_factor=(1, 2), mode="bilinear")(x.unsqueeze(2)).squeeze(2), nn.Conv1d, (1, 32)),
    ],
)
def test_what_is_called_over_more_axes_keeps_its_stride(call, conv, size):
    model = Called(call, conv).eval()
    learned = dynpool.convert(model, size).eval()
    assert list(dynpool.resolutions(learned)) == ["last"]
    x = torch.randn(2, *size)
    assert learned(x).shape == model(x).shape


@pytest.mark.parametrize("frozen", [False, True])
def test_sizes_for_an_input_of_other_axes_are_refused(frozen):
    model = dynpool.convert(nn.Sequential(nn.Conv1d(1, 4, 3, stride=2, padding=1)), (1, 32))
    model = dynpool.freeze(model) if frozen else model
    message = (
        r"handles learned|the input has \(height, width\), 40x40 pixels, but the model was converted for \(length,\)"
    )
    with pytest.raises((ValueError, TypeError), match=message):
        dynpool.sizes(model, (1, 40, 40))
