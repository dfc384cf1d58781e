"""Positions of a layer's own map, whatever axes of the image run along it, against what gradients see."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool import DynOPool2d
from dynpool.analysis import receptive_field
from tests.analysis.fields.oracle import image, layer_outputs, positive, region

SIZE = (3, 6, 10)


class Over(nn.Module):
    """`last` looks at what `rearrange` makes of a map of 3x3 fields."""

    def __init__(self, rearrange: Callable[[Tensor], Tensor], last: nn.Module, first: nn.Module | None = None) -> None:
        super().__init__()
        self.first = first or nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.rearrange, self.last = rearrange, last

    def forward(self, x: Tensor) -> Any:
        return self.last(self.rearrange(self.first(x)))


class OverTokens(nn.Module):
    """A linear layer for each token, then a convolution along the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.linear = nn.Linear(4, 4, bias=False)
        self.last = nn.Conv1d(4, 4, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.linear(self.first(x).flatten(2).transpose(1, 2)).transpose(1, 2))


def strips(x: Tensor) -> Tensor:
    """Rows, then columns, below each other, as in coordinate attention."""
    return torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], 2)


def strips_across(x: Tensor) -> Tensor:
    return strips(x).transpose(2, 3)


def columns_first(x: Tensor) -> Tensor:
    return torch.cat([x.mean(2, keepdim=True), x.mean(3, keepdim=True).transpose(2, 3)], 3)


def pooled_strips(x: Tensor) -> Tensor:
    """As strips, of adaptive pools, as most implementations have them."""
    rows, columns = F.adaptive_avg_pool2d(x, (x.shape[2], 1)), F.adaptive_avg_pool2d(x, (1, x.shape[3]))
    return torch.cat([rows, columns.permute(0, 1, 3, 2)], 2)


def strip_of_tokens(x: Tensor) -> Tensor:
    return torch.cat([x.mean(3), x.mean(2)], 2)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2)


def tokens_by_columns(x: Tensor) -> Tensor:
    return x.transpose(2, 3).flatten(2)


def turned(x: Tensor) -> Tensor:
    return x.transpose(2, 3)


def same(x: Tensor) -> Tensor:
    return x


def conv(n: int, kernel: Any, padding: Any = 0) -> nn.Module:
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1](4, 4, kernel, padding=padding, bias=False)


MODELS = {
    "strips": lambda: Over(strips, conv(2, 1)),
    "strips, neighbours mixed": lambda: Over(strips, conv(2, (3, 1), (1, 0))),
    "strips across": lambda: Over(strips_across, conv(2, 1)),
    "columns first": lambda: Over(columns_first, conv(2, (1, 3))),
    "pooled strips": lambda: Over(pooled_strips, conv(2, 1)),
    "strip of tokens": lambda: Over(strip_of_tokens, conv(1, 3, 1)),
    "tokens": lambda: Over(tokens, conv(1, 1)),
    "tokens by columns": lambda: Over(tokens_by_columns, conv(1, 3, 1)),
    "linear over tokens": OverTokens,
    "map": lambda: Over(same, conv(2, 3, 1)),
    "turned": lambda: Over(turned, conv(2, (3, 1), (1, 0))),
    "signal": lambda: Over(same, conv(1, 3, 1), nn.Conv1d(3, 4, 3, stride=2, bias=False)),
    "volume": lambda: Over(same, conv(3, 3, 1), nn.Conv3d(3, 4, (3, 1, 3), padding=(1, 0, 1), bias=False)),
    "volume turned": lambda: Over(turned, conv(3, (3, 1, 1)), nn.Conv3d(3, 4, (3, 1, 3), bias=False)),
    "frames as tokens": lambda: Over(lambda x: x.flatten(3), conv(2, 1), nn.Conv3d(3, 4, (3, 1, 3), bias=False)),
}
SIZES = {"signal": (3, 21), "volume": (3, 4, 5, 6), "volume turned": (3, 6, 5, 6), "frames as tokens": (3, 4, 5, 6)}


@pytest.mark.parametrize("name", MODELS)
def test_positions_of_the_map_see_what_gradients_see(name: str) -> None:
    model, size = MODELS[name](), SIZES.get(name, SIZE)
    report = receptive_field(model, size)
    assert report.not_understood == {}
    x = image(size)
    out = layer_outputs(positive(model), x, ["last"])["last"]
    for at in itertools.product(*map(range, out.shape[2:])):
        assert report.seen("last", at) == region(out, x, at), at


@pytest.mark.parametrize(("model", "size"), [("tokens", 60), ("linear over tokens", 60), ("strip of tokens", 16)])
def test_tokens_have_one_index(model: str, size: int) -> None:
    report = receptive_field(MODELS[model](), SIZE)
    assert report.seen("last", size - 1) == report.seen("last", (size - 1,))
    with pytest.raises(ValueError, match=rf"map of last, of size {size}, must be one int, got \(5, 9\)"):
        report.seen("last", (5, 9))
    for at in (-1, size):
        with pytest.raises(ValueError, match=f"position {at} is outside the map of last, of size {size}"):
            report.seen("last", at)


def test_axes_of_one_position_may_be_left_out() -> None:
    down, across = (receptive_field(MODELS[name](), SIZE) for name in ("strips", "strips across"))
    for at in range(16):
        assert down.seen("last", at) == down.seen("last", (at, 0)) == across.seen("last", (0, at))
    with pytest.raises(ValueError, match=r"position \(0, 7\) is outside the map of last, of size 16x1"):
        down.seen("last", (0, 7))
    pooled = receptive_field(Over(tokens, nn.AvgPool1d(3)), SIZE)  # PyTorch runs it as a pool of a map of one row
    assert pooled.seen("last", 2) == ((0, 1), (5, 9))


def test_one_index_stands_for_all_axes_of_a_map() -> None:
    report = receptive_field(MODELS["map"](), SIZE)
    assert report.seen("last", 4) == report.seen("last", (4, 4)) == ((2, 5), (2, 6))
    with pytest.raises(ValueError, match="position 6 is outside the map of last, of size 6x10"):
        report.seen("last", 6)
    wrong: list[Any] = [(1, 2, 3), (1,), (1.0, 2.0), 1.5, "ab"]
    for position in wrong:
        with pytest.raises(ValueError, match=r"of size 6x10, must be one int for each of its 2 axes, got"):
            report.seen("last", position)


def test_one_position_of_one_pixel() -> None:
    report = receptive_field(nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 2, 1)), (3, 4, 4))
    assert report.seen("1", 0) == report.seen("1", (0, 0)) == ((0, 3), (0, 3))
    with pytest.raises(ValueError, match="outside the map of 1, of size 1x1"):
        report.seen("1", 1)


def test_pieces_in_the_batch_are_seen_together() -> None:
    report = receptive_field(Over(lambda x: x.transpose(1, 2).flatten(0, 1), conv(1, 3, 1)), SIZE)
    assert report.seen("last", 4) == ((0, 5), (2, 6))  # all rows: each is an image of the layer's batch


@pytest.mark.parametrize(
    ("layers", "varying"),
    [
        ([nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3, dilation=2), nn.MaxPool2d(2)], ()),
        ([nn.ConvTranspose2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 2, 2)], ("0", "1")),
        ([nn.Upsample(scale_factor=2), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 2)], ("2",)),
        ([nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 4, 3)], ()),
        ([nn.AdaptiveAvgPool2d(7), nn.Conv2d(3, 4, 2)], ()),
        ([nn.Conv2d(3, 4, 2), DynOPool2d(1.7)], ("1",)),
    ],
)
def test_layers_whose_positions_see_regions_of_different_sizes(
    layers: list[nn.Module], varying: tuple[str, ...]
) -> None:
    report = receptive_field(nn.Sequential(*layers), (3, 24, 31))
    found = []
    for row in report.layers:
        sizes: list[set[int]] = [set(), set()]
        for position in itertools.product(*map(range, row.shape[2:])):
            for axis, (interval, extent) in enumerate(zip(report.seen(row.name, position), (24, 31), strict=True)):
                if interval is not None and interval[0] > 0 and interval[1] < extent - 1:
                    sizes[axis].add(interval[1] - interval[0])
        if max(map(len, sizes)) > 1:
            found.append(row.name)
    assert tuple(found) == report.varying == varying
