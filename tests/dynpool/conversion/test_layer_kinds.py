"""Layers that resize, padded by themselves or by a layer in front: converted, and the same function if asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool

SIZE = (3, 30, 36)
Mode = Literal["zeros", "reflect", "replicate", "circular"]


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


class Function(nn.Module):
    """Pads by a function."""

    def __init__(self, mode: str, value: float | None = None) -> None:
        super().__init__()
        self.mode, self.value = mode, value

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (2, 1, 1, 2), self.mode, self.value)


def conv(kernel: int = 3, padding: int = 0, mode: Mode = "zeros") -> nn.Module:
    return nn.Conv2d(3, 4, kernel, 2, padding, padding_mode=mode)


MODES: tuple[Mode, ...] = ("zeros", "reflect", "replicate", "circular")
PADDED: dict[str, Callable[[], nn.Module]] = {
    **{mode: partial(conv, 3, 1, mode) for mode in MODES},
    **{f"{mode} 5": partial(conv, 5, 2, mode) for mode in MODES},
    **{f"{mode} even": partial(conv, 4, 1, mode) for mode in MODES},
    "ZeroPad2d": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv()),
    "ConstantPad2d": lambda: nn.Sequential(nn.ConstantPad2d((1, 2, 0, 1), 0.7), conv()),
    "ReflectionPad2d": lambda: nn.Sequential(nn.ReflectionPad2d(1), conv()),
    "ReplicationPad2d": lambda: nn.Sequential(nn.ReplicationPad2d((2, 1, 1, 0)), conv()),
    "CircularPad2d": lambda: nn.Sequential(nn.CircularPad2d((2, 1, 1, 0)), conv()),
    "circular function": lambda: nn.Sequential(Function("circular"), conv()),
    "constant function": lambda: nn.Sequential(Function("constant", -0.5), conv()),
}


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("name", list(PADDED))
def test_padded_convolutions_are_converted(name: str, preserve: bool, order: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(PADDED[name](), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1)).eval()
    learned = dynpool.convert(model, SIZE, preserve=preserve, order=order)  # type: ignore[arg-type]
    x = torch.randn(2, *SIZE)
    assert learned(x).shape == model(x).shape
    if preserve:
        same(learned(x), model(x))
    (resolution,) = dynpool.resolutions(learned)
    dynpool.set_sizes(learned, {resolution: (11, 21)})
    assert learned(x).shape[-2:] == (11, 21)
    same(dynpool.freeze(learned)(x), learned(x))
    assert dynpool.GMACsLoss(learned, SIZE).value() * 1e9 == pytest.approx(dynpool.count_macs(learned, SIZE).total)


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("up", [(2, 2, 0, 0), (4, 2, 1, 0), (3, 2, 1, 1)])
def test_transposed_convolutions_keep_their_arithmetic(
    up: tuple[int, int, int, int], preserve: bool, order: str
) -> None:
    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pool = nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2)
            self.up = nn.ConvTranspose2d(4, 4, *up)

        def forward(self, x: Tensor) -> Tensor:
            a = self.stem(x)
            return torch.cat([a, self.up(self.pool(a))], 1)

    torch.manual_seed(0)
    model, x = UNet(), torch.randn(1, 3, 64, 64)
    learned = dynpool.convert(model, (3, 64, 64), preserve=preserve, order=order)  # type: ignore[arg-type]
    if preserve:
        same(learned(x), model(x))
    seen: list[torch.Size] = []
    learned.get_submodule("up").register_forward_hook(lambda m, args, out: seen.append(args[0].shape[-2:]))
    dynpool.set_sizes(learned, {"stem": (24, 40), "pool": (10, 22)})
    assert learned(x).shape[-2:] == (24, 40)
    assert seen == [(10, 22)]
    same(dynpool.freeze(learned)(x), learned(x))


@pytest.mark.parametrize("name", [*MODES, "CircularPad2d", "circular function"])
def test_padding_behind_a_pool_lets_its_size_be_learned(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.MaxPool2d(2), PADDED[name]()).eval()
    learned = dynpool.convert(model, SIZE)
    x = torch.randn(2, *SIZE)
    dynpool.set_sizes(learned, {"1": (9, 13)})
    learned(x)
    assert learned.get_submodule("1")(torch.randn(2, 3, *SIZE[1:])).shape[-2:] == (9, 13)
    same(dynpool.freeze(learned)(x), learned(x))
    assert dynpool.GMACsLoss(learned, SIZE).value() * 1e9 == pytest.approx(dynpool.count_macs(learned, SIZE).total)


def test_average_pools_average_and_max_pools_take_the_maximum() -> None:
    x = torch.randn(1, 3, 8, 8)
    both = dynpool.convert(nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(2)), (3, 8, 8))
    expected = nn.functional.max_pool2d(nn.functional.avg_pool2d(x, 2), 2)
    torch.testing.assert_close(both(x), expected)


POOLS: dict[str, nn.Module] = {
    "max 1": nn.MaxPool1d(3, 2, 1),
    "max 1 ceil": nn.MaxPool1d(2, 3, ceil_mode=True),
    "max 1 dilated, ceil": nn.MaxPool1d(3, 4, 1, dilation=2, ceil_mode=True),
    "mean 1": nn.AvgPool1d(4, 3, 2),
    "mean 1, border not counted": nn.AvgPool1d(3, 2, 1, count_include_pad=False),
    "mean 1 ceil": nn.AvgPool1d(5, 3, 2, ceil_mode=True),
    "mean 1 ceil, border not counted": nn.AvgPool1d(4, 3, 1, ceil_mode=True, count_include_pad=False),
    "max 3": nn.MaxPool3d((2, 3, 4), (1, 2, 3), (1, 0, 2)),
    "max 3 dilated, ceil": nn.MaxPool3d((2, 3, 2), (2, 3, 2), (1, 1, 0), dilation=(1, 2, 3), ceil_mode=True),
    "mean 3": nn.AvgPool3d((2, 3, 4), (1, 2, 3), (1, 0, 2)),
    "mean 3, border not counted": nn.AvgPool3d((2, 3, 4), (1, 2, 3), (1, 0, 2), count_include_pad=False),
    "mean 3 ceil": nn.AvgPool3d((3, 4, 2), (2, 3, 1), (0, 2, 1), ceil_mode=True),
    "mean 3 ceil, border not counted": nn.AvgPool3d((3, 4, 2), (2, 3, 1), (0, 2, 1), True, False),
    "mean 3 with a divisor": nn.AvgPool3d((2, 3, 2), (2, 1, 3), (0, 1, 1), divisor_override=5),
}


class Called(nn.Module):
    """A pool as a function."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        names = "kernel_size stride padding dilation ceil_mode count_include_pad divisor_override".split()
        self.how = {name: getattr(pool, name) for name in names if hasattr(pool, name)}
        kind = type(pool).__name__
        self.call = f"{kind[:3].lower()}_pool{kind[-2]}d"

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = getattr(F, self.call)(x, **self.how)
        return y


@pytest.mark.parametrize("form", [lambda pool: pool, Called], ids=["layer", "function"])
@pytest.mark.parametrize("name", list(POOLS))
@torch.no_grad()
def test_pools_of_sequences_and_volumes_keep_their_function(name: str, form: Callable[[nn.Module], nn.Module]) -> None:
    """Whatever remainders the strides leave, with each axis padded in its own way."""
    torch.manual_seed(0)
    pool = POOLS[name]
    conv: type[nn.Module] = nn.Conv1d if "1" in name else nn.Conv3d
    sizes: list[tuple[int, ...]] = [(22,), (23,), (24,)] if "1" in name else [(6, 10, 13), (7, 11, 12)]
    orders: tuple[Literal["after", "before"], ...] = ("after", "before")
    model = nn.Sequential(conv(2, 3, 3, padding=1), form(pool)).eval()
    for size in sizes:
        x = torch.randn(2, 2, *size)
        assert dynpool.convert(model, (2, *size))(x).shape == model(x).shape
        for order in orders:
            kept = dynpool.convert(model, (2, *size), preserve=True, order=order)
            same(kept(x), model(x))
            same(dynpool.freeze(kept)(x), model(x))
            (learned,) = dynpool.resolutions(kept)
            wanted = tuple(n - 1 for n in model(x).shape[2:])
            dynpool.set_sizes(kept, {learned: wanted})
            assert kept(x).shape[2:] == wanted
            same(dynpool.freeze(kept)(x), kept(x))


def close(a: Tensor, b: Tensor) -> None:
    """Equal up to the rounding of another order of operations."""
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


class Joined(nn.Module):
    """A map of 22 pixels, and one of 15 that an upsampling by 1.5 brings to 22, not to 22.5."""

    def __init__(self, mode: str, called: bool) -> None:
        super().__init__()
        self.stem, self.valid = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 8)
        self.up = None if called else nn.Upsample(scale_factor=1.5, mode=mode)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.valid(x)
        return x + (self.up(y) if self.up is not None else F.interpolate(y, scale_factor=1.5, mode=self.mode))


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@torch.no_grad()
def test_upsampling_steps_by_its_factor_where_that_gives_the_size(mode: str, called: bool) -> None:
    torch.manual_seed(0)
    model, x = Joined(mode, called).eval(), torch.randn(1, 3, 44, 44)
    learned = dynpool.convert(model, (3, 44, 44), preserve=True)
    assert [row.status for row in dynpool.conversion_report(learned).rows] == ["converted", "follows"]
    close(learned(x), model(x))
    frozen = dynpool.freeze(learned)
    close(frozen(x), model(x))
    stored = torch.jit.trace(frozen, x) if called else torch.jit.script(frozen)
    close(stored(x), model(x))
    close(torch.export.export(frozen, (x,)).module()(x), model(x))
    close(torch.compile(frozen, backend="eager")(x), model(x))
    dynpool.set_sizes(learned, {"stem": (30, 19)})  # 23 and 12 pixels become 30 and 19, not 34 and 18
    assert learned(x).shape[2:] == dynpool.freeze(learned)(x).shape[2:] == (30, 19)
    close(dynpool.freeze(learned)(x), learned(x))


class AsLargeAs(nn.Module):
    """A transposed convolution that is asked for the size of the map it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.high, self.low = (nn.Conv2d(c, 8, 3, stride=2, padding=1) for c in (3, 8))
        self.up = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.high(x)
        y: Tensor = x + self.up(self.low(x), output_size=[x.shape[2], x.shape[3]])
        return y


@pytest.mark.parametrize("order", ["after", "before"])
@torch.no_grad()
def test_a_transposed_convolution_is_asked_for_any_size(order: Literal["after", "before"]) -> None:
    torch.manual_seed(0)
    model, x = AsLargeAs().eval(), torch.randn(1, 3, 40, 53)
    learned = dynpool.convert(model, (3, 40, 53), preserve=True, order=order)
    close(learned(x), model(x))
    for high, low in (((21, 26), (12, 14)), ((33, 20), (9, 15))):
        dynpool.set_sizes(learned, {"high": high, "low": low})
        live, frozen = learned(x), dynpool.freeze(learned)
        assert live.shape[2:] == high
        for other in (frozen, torch.jit.script(frozen), torch.export.export(frozen, (x,)).module()):
            close(other(x), live)
    assert type(model.up) is nn.ConvTranspose2d
