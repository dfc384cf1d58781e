"""Layers that run several times in a pass: pools have a size for each call, layers with weights one for all runs."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool

SIZE = (3, 64, 64)


def statuses(model: nn.Module) -> dict[str, str]:
    return {row.name: row.status for row in dynpool.conversion_report(model).rows}


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


class Tutorial(nn.Module):
    """One pool behind each convolution, as most people's first network has it."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 5), nn.Conv2d(4, 5, 5)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(F.relu(self.conv2(self.pool(F.relu(self.conv1(x))))))


class Tail(nn.Module):
    def __init__(self, conv: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.conv, self.pool = conv, pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x))


class Elements(Tutorial):
    """The pool is an element of a list, three times."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__(nn.Identity())
        self.pools = nn.ModuleList([pool] * 3)

    def forward(self, x: Tensor) -> Tensor:
        for conv, pool in zip((self.conv1, self.conv2), self.pools, strict=False):
            x = pool(F.relu(conv(x)))
        return x


def networks() -> dict[str, tuple[nn.Module, list[str]]]:
    """Networks of two convolutions and one pool object, with the names that the pool's resolutions are to have."""
    pool = nn.MaxPool2d(2)
    a, b = nn.Conv2d(3, 4, 5), nn.Conv2d(4, 5, 5)
    tails = nn.Sequential(Tail(a, pool), nn.Sequential(Tail(b, pool)))
    return {
        "tutorial": (Tutorial(nn.MaxPool2d(2)), ["pool.0", "pool.1"]),
        "mean": (Tutorial(nn.AvgPool2d(3, 2, 1)), ["pool.0", "pool.1"]),
        "two parents": (tails, ["0.pool", "1.0.pool"]),
        "a list": (Elements(nn.MaxPool2d(2)), ["pools.0", "pools.1"]),
        "twice in a sequence": (nn.Sequential(a, pool, b, pool), ["1", "3"]),
        "below": (nn.Sequential(Tutorial(nn.MaxPool2d(2))), ["0.pool.0", "0.pool.1"]),
    }


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("name", list(networks()))
def test_each_call_of_a_pool_has_a_size_of_its_own(name: str, preserve: bool, order: str) -> None:
    torch.manual_seed(0)
    model, names = networks()[name]
    x = torch.randn(1, *SIZE)
    learned = dynpool.convert(model, SIZE, preserve=preserve, order=order)  # type: ignore[arg-type]
    assert list(dynpool.resolutions(learned)) == names
    assert dynpool.sizes(learned, SIZE) == dynpool.sizes(model, SIZE)
    if preserve:
        same(learned(x), model(x))
    assert set(learned.state_dict()) - {f"{n}.alpha" for n in names} - {f"{n}.resize.alpha" for n in names} == set(
        model.state_dict()
    )
    dynpool.set_sizes(learned, dict(zip(names, [(25, 31), (9, 7)], strict=True)))
    assert learned(x).shape[-2:] == (9, 7)
    assert dynpool.GMACsLoss(learned, SIZE).value() * 1e9 == pytest.approx(dynpool.count_macs(learned, SIZE).total)
    learned(x).square().mean().backward()
    assert all(r.alpha.grad is not None and r.alpha.grad.any() for r in dynpool.resolutions(learned).values())
    frozen = dynpool.freeze(learned)
    for other in (frozen, copy.deepcopy(learned), pickle.loads(pickle.dumps(learned)), copy.deepcopy(frozen)):
        same(other(x), learned(x))
    larger = torch.randn(1, 3, 80, 70)
    same(frozen(larger), learned(larger))


def test_a_call_from_elsewhere_is_refused() -> None:
    learned = dynpool.convert(Tutorial(nn.MaxPool2d(2)), SIZE)
    with pytest.raises(RuntimeError, match=r"has its own size in each of 2 calls, made by the model"):
        learned.get_submodule("pool")(torch.zeros(1, 3, 8, 8))


class More(Tutorial):
    """One call more than at the conversion."""

    more = False

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return self.pool(x) if self.more else x


def test_a_call_that_was_not_there_at_the_conversion_runs_the_layer_as_it_was() -> None:
    learned = dynpool.convert(More(nn.MaxPool2d(2)), SIZE)
    dynpool.set_sizes(learned, {"pool.0": (20, 20), "pool.1": (12, 10)})
    vars(learned)["more"] = True
    assert learned(torch.zeros(1, *SIZE)).shape[-2:] == (6, 5)


def test_upsamplings_and_pools_called_at_several_resolutions_are_followed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.up = nn.AvgPool2d(2), nn.Upsample(scale_factor=2)
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.conv(self.pool(x))
            return self.up(a + self.up(self.conv(self.pool(a))))

    torch.manual_seed(0)
    model, x = Net(), torch.randn(1, *SIZE)
    learned = dynpool.convert(model, SIZE)
    assert statuses(learned) == {
        "pool.0": "converted",
        "pool.1": "converted",
        "up.0": "follows",
        "up.1": "follows",
    }
    same(learned(x), model(x))
    dynpool.set_sizes(learned, {"pool.0": (21, 30), "pool.1": (8, 9)})
    assert learned(x).shape[-2:] == (42, 60)
    same(dynpool.freeze(learned)(x), learned(x))


# --- layers with weights ----------------------------------------------------------------------------------------------


class Siamese(nn.Module):
    """One encoder, pools called again in it and as functions included, on two images of one size."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return (self.encoder(a).mean((2, 3)) - self.encoder(b).mean((2, 3))).abs()


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.pool(self.conv(self.pool(self.stem(x)))), 2)


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("preserve", [False, True])
def test_two_runs_from_one_resolution_share_theirs(preserve: bool, order: str) -> None:
    torch.manual_seed(0)
    model, x = Siamese(Encoder()).eval(), torch.randn(2, 6, 64, 64)
    learned = dynpool.convert(model, (6, 64, 64), preserve=preserve, order=order)  # type: ignore[arg-type]
    names = ["encoder.stem.0", "encoder.pool.0", "encoder.pool.1", "encoder.resize_0"]
    assert list(dynpool.resolutions(learned)) == names
    if preserve:
        same(learned(x), model(x))
    draw, seen = random.Random(0), list[tuple[int, ...]]()
    for _ in range(3):
        sizes = {name: (draw.randint(3, 40), draw.randint(3, 40)) for name in names}
        dynpool.set_sizes(learned, sizes)
        seen.clear()
        handle = learned.get_submodule("encoder").register_forward_hook(lambda m, a, out: seen.append(out.shape[-2:]))
        live = learned(x)
        handle.remove()
        assert seen == [sizes[names[-1]]] * 2
        same(dynpool.freeze(learned)(x), live)
        assert dynpool.GMACsLoss(learned, (6, 64, 64)).value() * 1e9 == pytest.approx(
            dynpool.count_macs(learned, (6, 64, 64)).total
        )


class Pyramid(nn.Module):
    """One strided convolution at two resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.shared(self.stem(x)))


def test_weights_at_two_resolutions_are_left_alone_and_the_calls_are_named() -> None:
    learned = dynpool.convert(nn.Sequential(Pyramid()), SIZE)
    assert statuses(learned) == {"0.stem": "converted", "0.shared": "left alone"}
    (why,) = {row.why for row in dynpool.conversion_report(learned).rows if row.name == "0.shared"}
    assert "runs 2 times in a pass, at different resolutions: in 0 on 32x32 pixels, in 0 on 16x16 pixels" in why
    dynpool.set_sizes(learned, {"0.stem": (20, 28)})
    x = torch.randn(1, *SIZE)
    assert learned(x).shape[-2:] == (5, 7)
    same(dynpool.freeze(learned)(x), learned(x))
