"""What becomes of each resolution: who learns, who follows, who is held, and that pins spread as far as they must."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.size_math import check_multiple, round_to_multiple


def statuses(model: nn.Module) -> dict[str, str]:
    return {r.name: r.status for r in dynpool.conversion_report(model).rows}


class Fusion(nn.Module):
    """Two resolutions that exchange their maps, as in a high-resolution network; upsampled by a layer or a function."""

    def __init__(self, *, function: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.again = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.function = function

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        high = self.stem(x)
        low = self.down(high)
        up = F.interpolate(low, scale_factor=2, mode="bilinear") if self.function else self.up(low)
        return high + up, low + self.again(high)


@pytest.mark.parametrize("function", [False, True])
def test_upsampling_in_a_fusion_follows(function: bool) -> None:
    model = Fusion(function=function)
    learned = dynpool.convert(model, (3, 32, 32))
    up = "resize_0" if function else "up"
    assert statuses(learned) == {"stem": "converted", "down": "converted", up: "follows", "again": "tied"}
    x = torch.randn(1, 3, 32, 32)
    dynpool.set_sizes(learned, {"stem": (13, 20), "down": (9, 6)})
    high, low = learned(x)
    assert (high.shape[-2:], low.shape[-2:]) == ((13, 20), (9, 6))
    frozen = dynpool.freeze(learned)
    for live, plain in zip(learned(x), frozen(x), strict=True):
        torch.testing.assert_close(plain, live)


def test_upsampling_that_nothing_joins_keeps_its_factor() -> None:
    learned = dynpool.convert(nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=3)), (3, 16, 16))
    dynpool.set_sizes(learned, {"0": (5, 7)})
    assert learned(torch.zeros(1, 3, 16, 16)).shape[-2:] == (15, 21)
    assert dynpool.sizes(learned, (3, 16, 16)) == {"input": (16, 16), "0": (5, 7), "1": (15, 21)}


class Joined(nn.Module):
    """A learnable branch and a transposed convolution meet, and a table holds one more resolution."""

    def __init__(self, *, table: bool) -> None:
        super().__init__()
        self.first = nn.MaxPool2d(2)
        self.second = nn.MaxPool2d(2)
        self.up = nn.Parameter(torch.randn(3, 3, 2, 2))
        self.table = nn.Parameter(torch.zeros(16, 16)) if table else None

    def forward(self, x: Tensor) -> Tensor:
        high = self.first(x)
        high = high + F.conv_transpose2d(self.second(high), self.up, stride=2)
        return high if self.table is None else high + self.table


def test_what_meets_a_layer_that_cannot_be_rewritten_is_held_as_far_as_needed() -> None:
    """The function doubles the deep map exactly, so neither the deep nor the high map can move."""
    with pytest.raises(ValueError, match="convolution called in Joined"):
        dynpool.convert(Joined(table=False), (3, 32, 32))

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.joined = Joined(table=True)
            self.free = nn.AvgPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.free(self.joined(x))

    learned = dynpool.convert(Beside(), (3, 32, 32))
    assert statuses(learned)["free"] == "converted"
    dynpool.set_sizes(learned, {"free": (5, 9)})
    assert learned(torch.zeros(1, 3, 32, 32)).shape[-2:] == (5, 9)


class Learned(nn.Module):
    """Down by a convolution, and up again by a transposed one, as in a decoder with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.down = nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return x + self.up(self.down(x))


@pytest.mark.parametrize("preserve", [False, True])
def test_a_transposed_convolution_keeps_its_weights_and_follows(preserve: bool) -> None:
    model = Learned()
    learned = dynpool.convert(model, (3, 32, 32), preserve=preserve)
    assert statuses(learned) == {"pool": "converted", "down": "converted", "up": "follows"}
    x = torch.randn(1, 3, 32, 32)
    if preserve:
        torch.testing.assert_close(learned(x), model(x))
    dynpool.set_sizes(learned, {"pool": (13, 18), "down": (5, 11)})
    assert learned(x).shape[-2:] == (13, 18)
    torch.testing.assert_close(dynpool.freeze(learned)(x), learned(x))


class Shuffled(nn.Module):
    """Space to depth at the stem and a pixel shuffle at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.pool(F.pixel_unshuffle(x, 4)), 2)


def test_shuffles_are_multiples_of_a_learned_resolution() -> None:
    learned = dynpool.convert(Shuffled(), (1, 64, 64))
    assert statuses(learned) == {"pool": "converted"}
    dynpool.set_sizes(learned, {"pool": (5, 6)})
    assert learned(torch.zeros(1, 1, 64, 64)).shape[-2:] == (10, 12)
    assert dynpool.sizes(learned, (1, 128, 64))["pool"] == (10, 6)


class Calls(nn.Module):
    """Resizers as functions, among calls that resize nothing, in a module that has children which do the same."""

    def __init__(self, child: nn.Module | None = None) -> None:
        super().__init__()
        self.child = child

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 3, 1, 1)
        if self.child is not None:
            x = self.child(x)
        x = F.max_pool2d(x, kernel_size=2)
        return F.avg_pool2d(F.relu(x), 2, 2)


def test_functions_are_converted_like_modules() -> None:
    model = nn.Sequential(Calls(Calls()), nn.Conv2d(3, 3, 1))
    learned = dynpool.convert(model, (3, 64, 64))
    names = ["0.child.resize_0", "0.child.resize_1", "0.resize_0", "0.resize_1"]
    assert statuses(learned) == dict.fromkeys(names, "converted")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(learned(x), model(x))  # 2x2 pools start as what they were
    dynpool.set_sizes(learned, dict(zip(names, [(30, 20), (12, 18), (9, 7), (5, 4)], strict=True)))
    seen = [learned(x), copy.deepcopy(learned)(x), pickle.loads(pickle.dumps(learned))(x), dynpool.freeze(learned)(x)]
    assert seen[0].shape[-2:] == (5, 4)
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0])
    assert set(dynpool.freeze(learned).state_dict()) == set(model.state_dict())


class Convolves(nn.Module):
    """Convolutions as functions: one that resizes, with a weight made in the pass, among some that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.up = nn.Parameter(torch.randn(4, 4, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        standardized = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        x = F.conv_transpose2d(F.conv2d(x, standardized, padding=1), self.up)
        x = F.conv2d(input=x, weight=self.up, stride=2, dilation=2, padding=(1, 2))
        return x + F.conv1d(x.mean(2), self.up[:, :, :1, 0])[:, :, None]


@pytest.mark.parametrize("preserve", [False, True])
def test_convolutions_called_as_functions_are_converted(preserve: bool) -> None:
    torch.manual_seed(0)
    model, x = Convolves(), torch.randn(2, 3, 31, 31)
    learned = dynpool.convert(model, (3, 31, 31), preserve=preserve)
    assert statuses(learned) == {"(model)": "left alone", "resize_0": "converted"}  # the transposed one stays
    assert learned(x).shape == model(x).shape
    if preserve:
        torch.testing.assert_close(learned(x), model(x))
    dynpool.set_sizes(learned, {"resize_0": (9, 20)})
    live = learned(x)
    assert live.shape[-2:] == (9, 20)
    # native interpolation rounds the queries' positions: 1e-6 of the map's width times its slope
    torch.testing.assert_close(dynpool.freeze(learned)(x), live, rtol=0, atol=1e-5 * float(live.detach().abs().max()))
    learned.load_state_dict(model.state_dict())


def test_a_pass_that_fails_leaves_no_function_mode_behind() -> None:
    learned = dynpool.convert(Calls(), (3, 32, 32))
    with pytest.raises(TypeError):
        learned(torch.zeros(1, 3, 32, 32), 3)
    with pytest.raises(IndexError):
        learned(torch.zeros(3))
    pool = F.max_pool2d(torch.zeros(1, 1, 8, 8), 2)
    assert pool.shape[-2:] == (4, 4)


def test_a_module_that_runs_twice_at_one_resolution_is_converted_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x) + self.pool(-x)

    learned = dynpool.convert(Twice(), (3, 32, 32))
    assert [r.status for r in dynpool.conversion_report(learned).rows] == ["converted", "tied"]
    dynpool.set_sizes(learned, {"pool": (9, 13)})
    assert learned(torch.zeros(1, 3, 32, 32)).shape[-2:] == (9, 13)


def test_multiple_of_rounds_every_learned_size() -> None:
    learned = dynpool.convert(nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2)), (3, 60, 60), multiple_of=(8, 1))
    assert dynpool.sizes(learned, (3, 60, 60)) == {"input": (60, 60), "0": (32, 30), "1": (16, 15)}
    assert learned(torch.zeros(1, 3, 60, 60)).shape[-2:] == (16, 15)
    with pytest.raises(ValueError, match="multiple_of must be"):
        dynpool.convert(nn.MaxPool2d(2), (3, 32, 32), multiple_of=0)


@pytest.mark.parametrize("bad", [0, -8, (8,), (8, 2.0), True, (1, 2, 3)])
def test_bad_multiples_are_named(bad: object) -> None:
    with pytest.raises(ValueError, match="multiple_of must be"):
        check_multiple(bad)  # type: ignore[arg-type]


def test_round_to_multiple_is_the_nearest_and_never_zero() -> None:
    for multiple in range(1, 12):
        for size in range(1, 80):
            got = round_to_multiple(size, multiple)
            assert got % multiple == 0
            assert got >= multiple
            assert abs(got - size) <= multiple / 2 or got == multiple


class Auxiliary(nn.Module):
    """A head that runs in training only, of a fixed size; and a stride that is another one in training."""

    def __init__(self, *, contradicts: bool = False) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.head = nn.MaxPool2d(4)
        self.fixed = nn.Linear(3 * 16, 2)
        self.last = nn.MaxPool2d(2)
        self.contradicts = contradicts

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.pool(x)
        if self.contradicts and self.training:
            return self.last(x[..., :-2])
        return (self.last(x), self.fixed(self.head(x).flatten(1))) if self.training else self.last(x)


def test_a_head_that_only_trains_holds_what_it_needs() -> None:
    learned = dynpool.convert(Auxiliary(), (3, 32, 32))
    rows = {r.name: r for r in dynpool.conversion_report(learned).rows}
    assert rows["pool"].status == "pinned"
    assert rows["last"].status == "converted"
    assert any("head" in note for note in dynpool.conversion_report(learned).notes)
    dynpool.set_sizes(learned, {"last": (5, 6)})
    assert [t.shape for t in learned.train()(torch.zeros(2, 3, 32, 32))] == [(2, 3, 5, 6), (2, 2)]


def test_modes_that_contradict_each_other_are_said_so() -> None:
    learned = dynpool.convert(Auxiliary(contradicts=True), (3, 32, 32))
    notes = dynpool.conversion_report(learned).notes
    assert any("in eval mode" in n and "in training mode" in n for n in notes)
    assert notes[0] in str(dynpool.conversion_report(learned))


def test_a_pool_of_the_whole_map_is_local_if_its_window_is_a_number() -> None:
    narrow = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Conv2d(3, 3, 1))
    learned = dynpool.convert(narrow, (3, 4, 4))  # the second pool's window is its whole map of 2 x 2
    assert statuses(learned) == {"0": "converted", "1": "converted"}

    class Global(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(x)
            return F.avg_pool2d(x, x.shape[-2:])

    rows = {r.kind.split()[0]: r.status for r in dynpool.conversion_report(dynpool.convert(Global(), (3, 8, 8))).rows}
    assert rows == {"max_pool2d_with_indices": "converted", "avg_pool2d": "left alone"}
