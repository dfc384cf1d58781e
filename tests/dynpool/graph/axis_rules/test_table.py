"""Resolutions are followed through what models do to their maps: windows, grids, shuffles, joins, interpolations."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import dynpool
from dynpool.graph.survey import Survey
from dynpool.graph.tracer import trace_compared
from tests.dynpool.graph.axis_rules.maps import Then, padded_windows, pooled


def fractional_positions(x: Tensor) -> Tensor:
    rows = torch.linspace(0, 1, x.shape[-2], device=x.device)[:, None]
    return x + rows * torch.arange(x.shape[-1], device=x.device)


def coordinate_attention(x: Tensor) -> Tensor:
    h, w = x.shape[-2:]
    both = torch.cat([x.mean(3), x.mean(2)], dim=2).relu()
    rows, columns = both.split([h, w], dim=2)
    return x * rows.sigmoid()[..., None] * columns.sigmoid()[:, :, None]


def masked(x: Tensor) -> Tensor:
    """A mask of the map's size whose border of two pixels is marked."""
    mask = x.new_zeros(x.shape[-2:])
    mask[-2:, :2] = 1
    return x.masked_fill(mask != 0, 0.0)


def two_sums(x: Tensor) -> Tensor:
    """Three tokens and those of the map, joined at once or one after the other, and taken apart elsewhere."""
    tokens, one = x.flatten(2), x.mean((2, 3))[..., None]
    both = torch.cat([one, torch.cat([one, one, tokens], 2)], 2) + torch.cat([torch.cat([one] * 3, 2), tokens], 2)
    return torch.cat([both[..., :3], both[..., 3:]], 2)[..., 3:].reshape(x.shape) + x


FREE = {
    "mask made in the pass": masked,
    "roll": lambda x: torch.roll(x, (1, 1), (2, 3)) + x,
    "tokens": lambda x: (x.flatten(2).transpose(1, 2).softmax(1).transpose(1, 2)).view(x.shape) + x,
    "grid made in the pass": fractional_positions,
    "interpolation to a size of the pass": lambda x: x + F.interpolate(x[..., ::2, ::2], x.shape[-2:]),
    "concatenation along the height, and split": coordinate_attention,
    "windows padded by the model": padded_windows,
    "class token": lambda x: torch.cat([x.mean((2, 3))[..., None], x.flatten(2)], 2)[..., 1:].reshape(x.shape) + x,
    "tokens padded by one": lambda x: F.pad(x.flatten(2), (1, 0))[..., 1:].reshape(x.shape) + x,
    "two class tokens and one that meet": two_sums,
    "unfold and fold": lambda x: F.fold(F.unfold(x, 3, padding=1), x.shape[-2:], 3, padding=1) + x,
    "shuffle there and back": lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2) + x,
    "strided slices": lambda x: x[..., ::2, ::2] + F.max_pool2d(x, 1, 2),
    "attention of all tokens": lambda x: F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3).mT.reshape(x.shape) + x,
}


@pytest.mark.parametrize("function", FREE.values(), ids=FREE)
def test_what_follows_from_sizes_pins_nothing(function: Callable[[Tensor], Tensor]) -> None:
    graph = Survey(Then(function), (8, 48, 48)).structure
    assert not graph.not_understood
    assert [graph.classes.pinned(a) for a in pooled(graph)] == [None, None]


@pytest.mark.parametrize("function", FREE.values(), ids=FREE)
def test_and_runs_at_other_sizes(function: Callable[[Tensor], Tensor]) -> None:
    model = dynpool.convert(Then(function), (8, 48, 48))
    low = dynpool.resolutions(model)["pool"].alpha
    with torch.no_grad():
        low.copy_(torch.tensor([1.55, 2.4]))
    model(torch.randn(1, 8, 48, 48)).square().sum().backward()
    assert low.grad is not None
    assert low.grad.abs().min() > 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + torch.ones(24, 24),
        lambda x: x.view(1, 8, 24 * 24) @ torch.ones(576, 3),
        lambda x: F.layer_norm(x, (24, 24), torch.ones(24, 24)),
        lambda x: x[..., :20, :20],
        lambda x: x.unbind(2)[3] + x.unbind(3)[2],
    ],
    ids=["table", "matrix", "normalised", "crop", "positions"],
)
def test_what_has_a_fixed_size_pins_with_a_reason(function: Callable[[Tensor], Tensor]) -> None:
    graph = Survey(Then(function), (8, 48, 48)).structure
    assert all(graph.classes.pinned(a) for a in pooled(graph))


def test_a_model_for_one_size_is_traced_without_comparison() -> None:
    def only_24(x: Tensor) -> Tensor:
        if x.shape[-1] != 24:
            raise ValueError("made for 24 pixels")
        return x.relu()

    graph = trace_compared(Then(only_24), (8, 48, 48))
    assert [graph.classes.pinned(a) for a in pooled(graph)] == [None, None]
