"""What has other axes than the input of a network: pools and sizes are refused, layers left alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
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


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.max_pool2d(x.unsqueeze(2), (1, 3), (1, 2), (0, 1)).squeeze(2),
        lambda x: F.max_pool2d(x.unsqueeze(2), (1, 3), (1, 2), (0, 1), return_indices=True)[0].squeeze(2),
        lambda x: F.avg_pool2d(x.unsqueeze(2), (1, 3), (1, 2), (0, 1), count_include_pad=False).squeeze(2),
    ],
)
@torch.no_grad()
def test_a_pool_called_on_maps_of_height_one_learns_its_size(call: Callable[[Tensor], Tensor]) -> None:
    model, x = Called(call, nn.Conv1d).eval(), torch.randn(2, 1, 33)
    learned = dynpool.convert(model, (1, 33), preserve=True)
    assert list(dynpool.resolutions(learned)) == ["resize_0", "last"]
    torch.testing.assert_close(learned(x), model(x))
    dynpool.set_sizes(learned, {"resize_0": (21,), "last": (9,)})
    assert learned(x).shape == (2, 4, 9)
    torch.testing.assert_close(dynpool.freeze(learned)(x), learned(x))
    torch.testing.assert_close(copy.deepcopy(learned)(x), learned(x))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.avg_pool2d(x.unsqueeze(2), 3, 2, 1).squeeze(2),  # zeros above and below count
        lambda x: F.avg_pool2d(x.unsqueeze(2), (1, 3), 2, divisor_override=2).squeeze(2),
    ],
)
@torch.no_grad()
def test_one_that_is_not_a_pool_of_sequences_is_left_alone(call: Callable[[Tensor], Tensor]) -> None:
    model, x = Called(call, nn.Conv1d).eval(), torch.randn(2, 1, 33)
    learned = dynpool.convert(model, (1, 33), preserve=True)
    assert [row.status for row in dynpool.conversion_report(learned).rows] == ["left alone", "converted"]
    torch.testing.assert_close(learned(x), model(x))


class OnFrames(nn.Module):
    """A network of clips whose last layers slide over each frame: all in one batch, or one after the other."""

    def __init__(self, together: bool, first: nn.Module, channels: int) -> None:
        super().__init__()
        self.first, self.together = first, together
        self.conv, self.pool = nn.Conv2d(channels, 4, 3, (2, 1), 1), nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.first(x)
        if self.together:
            return self.pool(self.conv(y.transpose(1, 2).flatten(0, 1))).unflatten(0, (len(x), -1)).transpose(1, 2)
        return torch.stack([self.pool(self.conv(frame)) for frame in y.unbind(2)], 2)


def test_layers_on_frames_have_a_row_that_says_why_they_keep_their_strides() -> None:
    model = OnFrames(True, nn.Conv3d(1, 4, 3, (1, 2, 2), 1), 4).eval()
    learned = dynpool.convert(model, (1, 4, 32, 48))
    why = "it is of (height, width), the model's input of (depth, height, width)"
    first, second, third = dynpool.conversion_report(learned).rows
    assert (first.name, first.status) == ("first", "converted")
    assert (second.name, second.kind, second.resolution) == ("conv", "convolution 3x3 stride 2x1", "-")
    assert (third.name, third.kind, third.resolution) == ("pool", "avg_pool2d 2x2 stride 2", "-")
    assert [(row.status, row.why) for row in (second, third)] == [("left alone", why)] * 2
    assert second.macs == (4 * 8 * 24 * 4 * 4 * 9,) * 2
    x = torch.randn(1, 1, 4, 32, 48)
    assert learned(x).shape == model(x).shape == (1, 4, 4, 4, 12)
    dynpool.set_sizes(learned, {"first": (4, 12, 20)})
    assert learned(x).shape == (1, 4, 4, 3, 10)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("first", [nn.ReLU(), nn.AdaptiveAvgPool3d(8)])
def test_a_network_with_such_layers_alone_has_nothing_to_learn_and_says_which(together: bool, first: nn.Module) -> None:
    """A row each, though they may run once for every frame."""
    message = (
        r"no resizer of the OnFrames can be learned along \(depth, height, width\) of input_size=\(1, 4, 16, 24\):"
    )
    with pytest.raises(dynpool.NothingToLearnError, match=message) as refused:
        dynpool.convert(OnFrames(together, first, 1), (1, 4, 16, 24))
    assert [row.name for row in refused.value.report.rows] == ["conv", "pool"]


@pytest.mark.parametrize("frozen", [False, True])
def test_sizes_for_an_input_of_other_axes_are_refused(frozen):
    model = dynpool.convert(nn.Sequential(nn.Conv1d(1, 4, 3, stride=2, padding=1)), (1, 32))
    model = dynpool.freeze(model) if frozen else model
    message = (
        r"handles learned|the input has \(height, width\), 40x40 pixels, but the model was converted for \(length,\)"
    )
    with pytest.raises((ValueError, TypeError), match=message):
        dynpool.sizes(model, (1, 40, 40))
