"""Resolutions are followed through what models do to their maps: windows, grids, shuffles, joins, interpolations."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.graph.axes import AxisClasses
from dynpool.graph.dims import Atom, Dim
from dynpool.graph.ir import Graph
from dynpool.graph.survey import Survey
from dynpool.graph.tracer import trace, trace_compared


class Then(nn.Module):
    """A pool, then a function of its map."""

    def __init__(self, function: Callable[[Tensor], Tensor], **state: Tensor) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.function = function
        for name, t in state.items():
            self.register_buffer(name, t)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.pool(x))


def pooled(graph: Graph) -> tuple[int, int]:
    h, w = graph.resizes[0].target
    assert h is not None
    assert w is not None
    return h, w


def windows(x: Tensor, size: int = 4) -> Tensor:
    """Attention inside windows, and back to the map."""
    n, c, h, w = x.shape
    cut = x.view(n, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)
    mixed = F.scaled_dot_product_attention(cut, cut, cut)
    back = mixed.view(n, h // size, w // size, size, size, c).permute(0, 5, 1, 3, 2, 4)
    return x + back.reshape(n, c, h, w)


def grid(x: Tensor, size: int = 4) -> Tensor:
    """The same among pixels far apart: as many of them as a window has, each a block away from the next."""
    n, c, h, w = x.shape
    cut = x.view(n, c, size, h // size, size, w // size).permute(0, 3, 5, 2, 4, 1).reshape(-1, size * size, c)
    mixed = F.scaled_dot_product_attention(cut, cut, cut)
    back = mixed.view(n, h // size, w // size, size, size, c).permute(0, 5, 3, 1, 4, 2)
    return x + back.reshape(n, c, h, w)


def padded_windows(x: Tensor) -> Tensor:
    h, w = x.shape[-2:]
    return windows(F.pad(x, (0, -w % 4, 0, -h % 4)))[..., :h, :w]


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


@pytest.mark.parametrize("function", [windows, grid])
def test_windows_make_sizes_multiples(function: Callable[[Tensor], Tensor]) -> None:
    graph = Survey(Then(function), (8, 48, 48)).structure
    assert [(graph.classes.pinned(a), graph.classes.multiple(a)) for a in pooled(graph)] == [(None, 4), (None, 4)]
    model = dynpool.convert(Then(function), (8, 48, 48))
    with torch.no_grad():
        dynpool.resolutions(model)["pool"].alpha.copy_(torch.tensor([1.55, 2.4]))
    assert model(torch.randn(1, 8, 48, 48)).shape[-2:] == (32, 20)  # 31 and 20
    with pytest.raises(ValueError, match=r"in multiples of \(4, 4\) pixels"):
        dynpool.set_sizes(model, {"pool": (22, 20)})


@pytest.mark.parametrize("kind", [padded_windows, lambda x: padded_windows(padded_windows(x))], ids=["once", "twice"])
def test_where_the_model_pads_its_windows_any_size_will_do(kind: Callable[[Tensor], Tensor]) -> None:
    graph = Survey(Then(kind), (8, 42, 44)).structure  # 21 x 22 pixels, padded to 24 x 24
    assert [(graph.classes.pinned(a), graph.classes.multiple(a)) for a in pooled(graph)] == [(None, 1), (None, 1)]
    model = dynpool.convert(Then(kind), (8, 42, 44), preserve=True)
    assert dynpool.sizes(model, (8, 42, 44))["pool"] == (21, 22)
    dynpool.set_sizes(model, {"pool": (27, 13)})
    assert model(torch.randn(1, 8, 42, 44)).shape[-2:] == (27, 13)


def test_a_whole_map_as_one_window_is_told_apart_from_a_number() -> None:
    """At 8 x 8 the pooled map is one window of 4 x 4: only a larger input shows the rest."""
    graph = Survey(Then(windows), (8, 8, 8)).structure
    assert [graph.classes.multiple(a) for a in pooled(graph)] == [4, 4]
    assert dynpool.convert(Then(windows), (8, 8, 8))(torch.zeros(1, 8, 8, 8)).shape == (1, 8, 4, 4)


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


class AlongRows(nn.Module):
    """A recurrent network over the pixels of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        n, c, h, w = x.shape
        out, _ = self.lstm(x.permute(0, 2, 3, 1).reshape(n * h, w, c))
        return x + out.view(n, h, w, c).permute(0, 3, 1, 2)


def test_a_recurrent_network_takes_sequences_of_any_length() -> None:
    graph = Survey(AlongRows(), (8, 48, 48)).structure
    assert not graph.not_understood
    assert [graph.classes.pinned(a) for a in pooled(graph)] == [None, None]


def test_without_a_second_pass_windows_are_not_guessed() -> None:
    assert "split by a view" in (trace(Then(windows), (8, 48, 48)).classes.pinned(2) or "")


def test_a_model_for_one_size_is_traced_without_comparison() -> None:
    def only_24(x: Tensor) -> Tensor:
        if x.shape[-1] != 24:
            raise ValueError("made for 24 pixels")
        return x.relu()

    graph = trace_compared(Then(only_24), (8, 48, 48))
    assert [graph.classes.pinned(a) for a in pooled(graph)] == [None, None]


def test_classes_that_must_keep_a_ratio() -> None:
    classes = AxisClasses()
    a, b = classes.new(12), classes.new(12)
    half_a, half_b = (classes.scaled(x, Fraction(1, 2), 6) for x in (a, b))
    assert classes.scaled(half_a, Fraction(2), 12) == a
    classes.unite(half_a, half_b)
    assert classes.find(a) == classes.find(b)  # halves that agree are halves of equals
    classes.demand(half_a, 3)
    assert classes.multiple(a) == 6
    other = classes.new(6)  # opened by a resizer of its own, which now has to follow
    classes.unite(half_a, other)
    assert classes.base(other) == (a, Fraction(1, 2))
    classes.unite(other, classes.scaled(a, Fraction(1, 3), 4))  # a half that is a third
    assert classes.pinned(a) is not None


def test_classes_of_separate_resizes_that_must_keep_a_ratio_are_told() -> None:
    classes = AxisClasses()
    a, b = classes.new(16), classes.new(8)
    classes.unite(classes.scaled(a, Fraction(1, 4), 4), classes.scaled(b, Fraction(1, 2), 4))
    assert classes.ratios() == ((a, b, Fraction(1, 2)),)
    assert classes.pinned(a) is None
    classes.unite(b, classes.scaled(a, Fraction(1, 2), 8))  # one follows from the other: nothing is left to keep
    assert classes.ratios() == ()


def test_sums_of_different_parts_that_meet_pin_every_part() -> None:
    classes = AxisClasses()
    x, y, z = classes.new(7), classes.new(3), classes.new(5)
    two = classes.sum([Dim((Atom(3),)), Dim((Atom(7, x),))])
    three = classes.sum([Dim((Atom(3, y),)), Dim((Atom(2),)), Dim((Atom(5, z),))])
    classes.unite(two, three)
    assert all("sums of resolutions meet" in (classes.pinned(axis) or "") for axis in (x, y, z))


def test_a_multiple_of_what_only_the_code_knows_makes_that_a_fraction() -> None:
    """Eight blocks of a size computed in the pass make up the map: the map must divide by eight."""
    classes = AxisClasses()
    whole, block = classes.new(24), classes.new(3, free=True)
    classes.unite(whole, classes.sum([Dim((Atom(3, block),))] * 8))
    assert classes.base(block) == (whole, Fraction(1, 8))
    assert classes.multiple(whole) == 8
    assert classes.size(block, {whole: 40}) == 5


def test_parts_of_what_only_the_code_knows_tell_how_large_it_is() -> None:
    """A sixth of the map is a third of a mask: the mask is half the map."""
    classes = AxisClasses()
    whole, mask = classes.new(24), classes.new(12, free=True)
    classes.unite(classes.scaled(mask, Fraction(1, 3), 4), classes.scaled(whole, Fraction(1, 6), 4))
    assert classes.base(mask) == (whole, Fraction(1, 2))
    assert classes.pinned(whole) is None


def test_sizes_of_classes_that_follow() -> None:
    classes = AxisClasses()
    a, b = classes.new(12), classes.new(8)
    total = classes.sum([Dim((Atom(12, a),)), Dim((Atom(8, b), Atom(2)))])
    assert classes.size(total, {a: 13, b: 5}) == 23
    assert classes.size(classes.scaled(a, Fraction(1, 4), 3), {a: 20}) == 5
    assert classes.size(total, {a: 13}) is None
