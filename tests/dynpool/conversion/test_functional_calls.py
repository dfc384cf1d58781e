"""Functions that resize, called inside modules: each belongs to the module whose own forward calls it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool


class Smoothed(nn.Module):
    """A convolution and a function of the family that its owner resizes with, at stride 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(x), 3, 1, 1)


class UNet(nn.Module):
    """Its layers are called as elements of a list or a dict, not as children."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([Smoothed(3), nn.Sequential(Smoothed(3), nn.ReLU())])
        self.up = nn.ModuleDict({"end": Smoothed(6)})
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        high = self.down[0](F.max_pool2d(x, 2))
        low = self.pool(self.down[1](F.max_pool2d(high, 2)))
        low = F.interpolate(low, scale_factor=2)
        joined = torch.cat([F.max_pool2d(high, 2), low], 1)
        return self.up["end"](F.interpolate(joined, scale_factor=2))


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


class Indices(nn.Module):
    """A max pool that gives its indices too, which are dropped, returned, used, or only looked at."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.stem, self.use = nn.Conv2d(3, 4, 3, stride=2, padding=1), use

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        y, indices = F.max_pool2d(x, 2, return_indices=True)
        if self.use == "used":
            return (y + x.flatten(2).gather(2, indices.flatten(2)).view_as(y),)
        if self.use == "looked at" and bool((indices < 0).any()):
            return (x,)
        return (y, indices) if self.use == "returned" else (y,)


@pytest.mark.parametrize(
    ("use", "status"),
    [("dropped", "converted"), ("returned", "left alone"), ("used", "left alone"), ("looked at", "left alone")],
)
def test_a_max_pool_whose_indices_count_is_left_alone(use: str, status: str) -> None:
    model, x = Indices(use).eval(), torch.randn(1, 3, 32, 40)
    learned = dynpool.convert(model, (3, 32, 40), preserve=True)
    assert [row.status for row in dynpool.conversion_report(learned).rows] == ["converted", status]
    for ours, theirs in zip(learned(x), model(x), strict=True):
        torch.testing.assert_close(ours, theirs)
    dynpool.set_sizes(learned, {"stem": (15, 22)})
    for ours, theirs in zip(dynpool.freeze(learned)(x), learned(x), strict=True):
        assert ours.shape[2:] == ((7, 11) if use != "dropped" else (8, 11))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("preserve", [False, True])
def test_calls_inside_elements_of_lists_and_dicts_are_theirs(preserve: bool) -> None:
    torch.manual_seed(0)
    model, x = UNet().eval(), torch.randn(1, 3, 64, 64)
    learned = dynpool.convert(model, (3, 64, 64), preserve=preserve)
    same(learned(x), model(x))
    names = list(dynpool.resolutions(learned))
    dynpool.set_sizes(learned, dict(zip(names, [(40, 36), (18, 22), (9, 11)], strict=False)))
    live = learned(x)
    assert live.shape[-2:] == (40, 36)
    same(dynpool.freeze(learned)(x), live)
    for other in (copy.deepcopy(learned), pickle.loads(pickle.dumps(learned)), copy.deepcopy(dynpool.freeze(learned))):
        same(other(x), live)


class Owner(nn.Module):
    """A pool that is a direct child, between two functions of the same family."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.max_pool2d(x, 2))
        return F.avg_pool2d(F.interpolate(x, scale_factor=(2.0, 3.0), mode="bilinear"), 2)


def test_resizers_run_outside_the_calls_of_their_owner() -> None:
    """A frozen pool interpolates and pools by functions that its owner calls as well."""
    x = torch.randn(1, 3, 48, 48)
    learned = dynpool.convert(nn.Sequential(Owner()), (3, 48, 48))
    dynpool.set_sizes(learned, {"0.resize_0": (25, 19), "0.pool": (7, 11), "0.resize_2": (5, 9)})
    live = learned(x)
    assert live.shape[-2:] == (5, 9)
    same(dynpool.freeze(learned)(x), live)


class Recursive(nn.Module):
    """Calls a child, which may fail, between two calls of its own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.ModuleList([inner])
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 2)
        if self.fails:
            raise RuntimeError("in the middle")
        try:
            x = self.inner[0](x)
        except RuntimeError:
            x = F.max_pool2d(x, 3, 1, 1)
        return F.max_pool2d(x, 2)


def test_a_pass_that_fails_in_the_middle_leaves_no_trace() -> None:
    inner = Recursive(nn.Conv2d(3, 3, 1))
    learned = dynpool.convert(Recursive(inner), (3, 64, 64))
    dynpool.set_sizes(learned, {"resize_0": (30, 30), "inner.0.resize_0": (20, 20), "inner.0.resize_1": (12, 12)})
    x = torch.randn(1, 3, 64, 64)
    before = learned(x)
    called = learned.get_submodule("inner.0")
    assert isinstance(learned, Recursive)
    assert isinstance(called, Recursive)
    called.fails = True
    learned(x)  # the owner catches it and goes on with calls of its own
    learned.fails = True
    with pytest.raises(RuntimeError, match="in the middle"):
        learned(x)
    assert F.max_pool2d(x, 2).shape[-2:] == (32, 32)  # nobody intercepts it
    called.fails = learned.fails = False
    assert torch.equal(learned(x), before)


def test_hooks_count_where_they_are_traced() -> None:
    """What hooks before a module call is the module's; what hooks behind it call is its owner's."""
    model = nn.Sequential(UNet())
    inner = model[0].get_submodule("down.0")
    inner.register_forward_pre_hook(lambda module, args: F.max_pool2d(args[0], 3, 1, 1))
    inner.register_forward_hook(lambda module, args, out: F.avg_pool2d(out, 3, 1, 1))
    x = torch.randn(1, 3, 64, 64)
    learned = dynpool.convert(model, (3, 64, 64), preserve=True)
    same(learned(x), model(x))
    same(dynpool.freeze(learned)(x), model(x))
