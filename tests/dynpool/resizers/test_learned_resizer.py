"""The protocol: a resizer of one's own stands wherever DynOPool2d does."""

import copy
import math
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.resizers.dynopool import DynOPool2d
from dynpool.resizers.learned_alpha import constrain_resizers, host_alphas, set_alpha
from dynpool.resizers.learned_resizer import Chain, LearnedResizer2d
from dynpool.size_math import pair
from tests.networks import two_resizers

Pair = tuple[float, float]
Size = tuple[int, int]


class Average(LearnedResizer2d):
    """The mean over the pixels that an output pixel covers; alpha is the stride."""

    def __init__(self, strides=2.0, *, reduce="mean", bounds: Pair = (1 / 8, 2.0), tied_to=None) -> None:
        super().__init__(strides, bounds=bounds, tied_to=tied_to)

    def output_size(self, size: Pair, strides: Pair) -> Size:
        return max(round(size[0] / strides[0]), 1), max(round(size[1] / strides[1]), 1)

    def forward(self, x: Tensor, size: Size | None = None) -> Tensor:
        mean = F.adaptive_avg_pool2d(x, pair(self.own_size(x) if size is None else size))
        return (
            mean * (self.shared_alpha() / self.shared_alpha().detach()).sum() / 2
        )  # several operations, and a gradient

    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        return -(-size_in // size_out), -(-size_in // size_out) + 1

    def frozen(self, size: Size) -> nn.Module:
        return nn.AdaptiveAvgPool2d(size)


class Exponential(Average):
    """Alpha is the logarithm of the stride, fractions of pixels are handed on, the last map has at most 5."""

    keeps_fractions = True
    looks_at_chains = True

    def strides(self, values: Pair) -> Pair:
        return math.exp(values[0]), math.exp(values[1])

    def learned_strides(self, alpha: Tensor) -> Tensor:
        return alpha.exp()

    def values_for(self, size_in: Pair, size_out: Size) -> Pair:
        return math.log(size_in[0] / size_out[0]), math.log(size_in[1] / size_out[1])

    def checked(self, values: float | Sequence[float]) -> Pair:
        h, w = (values, values) if isinstance(values, (int, float)) else values
        return math.log(h), math.log(w)

    def project(self, values: Pair, previous: Pair, trust: float | None) -> Pair:
        h, w = (min(max(v, -2.0), 2.0) for v in values)
        return h, w

    @classmethod
    def chain_factor(cls, chains: Sequence[Chain]) -> Pair:
        h, w = (min(1.0, *((5 / c.size[i]) ** (1 / len(c.resizers)) for c in chains)) for i in (0, 1))
        return h, w

    def scaled_by(self, factor: Pair | None) -> None:
        self.heard = factor


class Branches(nn.Module):
    """Two strided branches that meet: their resizers are tied."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.right = nn.Conv2d(3, 4, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


@pytest.fixture
def model() -> nn.Sequential:
    converted = dynpool.convert(two_resizers(), (3, 32, 32), pool=Average)
    assert isinstance(converted, nn.Sequential)
    return converted


def test_it_is_inserted_in_the_same_places_as_dynopool(model: nn.Sequential) -> None:
    usual = dynpool.convert(two_resizers(), (3, 32, 32))
    assert str(dynpool.conversion_report(model)) == str(dynpool.conversion_report(usual))
    assert [n for n, m in model.named_modules() if isinstance(m, Average)] == [
        n for n, m in usual.named_modules() if isinstance(m, DynOPool2d)
    ]
    assert set(model.state_dict()) == set(usual.state_dict())
    assert dynpool.sizes(model, (3, 32, 32)) == {"input": (32, 32), "1": (16, 16), "2": (8, 8)}


def test_sizes_set_are_sizes_run(model: nn.Sequential) -> None:
    dynpool.set_sizes(model, {"1": (11, 21), "2": (7, 4)})
    assert dynpool.sizes(model, (3, 32, 32)) == {"input": (32, 32), "1": (11, 21), "2": (7, 4)}
    shapes = []
    model[4].register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape[-2:])))
    model(torch.zeros(1, 3, 32, 32))
    assert shapes == [(7, 4)]


def test_tied_branches_share_its_parameter() -> None:
    model = dynpool.convert(Branches(), (3, 32, 32), pool=Average)
    pools = [m for m in model.modules() if isinstance(m, Average)]
    assert pools[1].root() is pools[0]
    assert len(dynpool.parameter_groups(model)[1]["params"]) == 1
    dynpool.set_sizes(model, {"left": (9, 12)})
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 9, 12)


def test_one_node_in_the_trace_with_its_own_sizes_and_footprints(model: nn.Sequential) -> None:
    graph = dynpool.trace(model, (3, 32, 32))
    nodes = [n for n in graph.nodes if n.resizer is not None]
    assert [(n.op, n.path, type(n.resizer)) for n in nodes] == [
        ("dynpool.resizer", "1", Average),
        ("dynpool.resizer", "2.resize", Average),
    ]
    assert not any("adaptive" in n.op or n.op == "aten.div" for n in graph.nodes if n.path in ("1", "2.resize"))
    rows = {row.name: row for row in receptive_field(model, (3, 32, 32)).layers}
    assert (rows["1"].r_min, rows["1"].r_max) == ((4.0, 4.0), (5.0, 5.0))  # 3, then 2 or 3 pixels
    # the convolution at stride 1 of "2" adds 2 * 2 to both, the resizer 1 * 2 and 2 * 2
    assert (rows["2.resize"].r_min, rows["2.resize"].r_max) == ((10.0, 10.0), (13.0, 13.0))


def test_a_resizer_that_sees_everything_is_global() -> None:
    class Spectral(Average):
        def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
            return math.inf, math.inf

    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=Spectral)
    report = receptive_field(model, (3, 32, 32))
    assert [row.name for row in report.layers] == ["0"]  # what follows a global operation alone is no layer
    assert report.i_min == (3.0, 3.0)


def test_macs_and_their_gradient(model: nn.Sequential) -> None:
    dynpool.set_sizes(model, {"1": (11, 21), "2": (7, 4)})
    loss = dynpool.GMACsLoss(model, (3, 32, 32))
    macs = 32 * 32 * 8 * 27 + 11 * 21 * 8 * 72 + 7 * 4 * 8 * 72 + 32
    assert dynpool.count_macs(model, (3, 32, 32)).total == macs
    assert loss().item() == pytest.approx(macs / 1e9)
    loss().backward()
    alphas = [p.shared_alpha() for p in model.modules() if isinstance(p, Average)]
    continuous = [11 * 21 * 8 * 72, 7 * 4 * 8 * 72]  # d(c / alpha) = -c / alpha**2, and both shrink with the first
    want = [-(continuous[0] + continuous[1]) / 1e9 / alphas[0][0], -continuous[1] / 1e9 / alphas[1][0]]
    got = [a.grad[0] for a in alphas if a.grad is not None]
    torch.testing.assert_close(torch.stack(got), torch.stack(want).detach(), rtol=1e-4, atol=0)


def test_training_keeps_it_in_bounds(model: nn.Sequential) -> None:
    groups = dynpool.parameter_groups(model, alpha_lr=100.0)
    assert [g["name"] for g in groups] == ["weights", "alphas"]
    optimizer = torch.optim.SGD(groups)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
        before = host_alphas([m for m in model.modules() if isinstance(m, Average)])
        dynpool.constrain(model)
        for pool, old in zip([m for m in model.modules() if isinstance(m, Average)], before, strict=True):
            low, high = 1 / pool.bounds[1], 1 / pool.bounds[0]
            assert all(low <= a <= high and math.isfinite(a) for a in host_alphas([pool])[0]), old


def test_ceiling_holds_for_any_resizer() -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=Average, max_gmacs=0.0005)
    for pool in (m for m in model.modules() if isinstance(m, Average)):
        with torch.no_grad():
            pool.shared_alpha().fill_(0.6)
    model(torch.zeros(1, 3, 32, 32))
    assert dynpool.count_macs(model, (3, 32, 32)).gmacs <= 0.0005


def test_freeze_puts_its_own_fixed_form_in_its_place(model: nn.Sequential) -> None:
    dynpool.set_sizes(model, {"1": (11, 21), "2": (7, 4)})
    plain = dynpool.freeze(model)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(x), model(x))
    assert isinstance(plain, nn.Sequential)
    assert isinstance(plain[1], nn.AdaptiveAvgPool2d)
    assert set(plain.state_dict()) == set(two_resizers().state_dict())


@pytest.mark.parametrize("converted", [True, False])
def test_tracker_logs_it(tmp_path: Path, converted: bool) -> None:
    by_hand = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Average((1.5, 2.5)), nn.Conv2d(8, 8, 3, padding=1))
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=Average) if converted else by_hand
    tracker = IMinTracker(model, (3, 32, 32), tmp_path / "log.jsonl")
    set_alpha(next(m for m in model.modules() if isinstance(m, Average)), (4.0, 2.5))
    record = tracker.log(0)
    assert record["sizes"]["1"] == [8, 13]
    assert record["gmacs"] == pytest.approx(dynpool.count_macs(model, (3, 32, 32)).gmacs)
    assert record["i_min"] == list(receptive_field(model, (3, 32, 32)).i_min)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_keep_ties(duplicate) -> None:
    model = dynpool.convert(Branches(), (3, 32, 32), pool=Average)
    first, second = (m for m in duplicate(model).modules() if isinstance(m, Average))
    assert second.root() is first


def test_sizes_that_depend_on_the_whole_chain() -> None:
    """32 pixels, two strides of 1.6 and 2.0 and a last size of at most 5, unrounded in between."""
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=Exponential)
    pools = [m for m in model.modules() if isinstance(m, Exponential)]
    for pool, stride in zip(pools, ((1.6, 4.0), (2.0, 2.0)), strict=True):
        set_alpha(pool, stride)
    # height: 32 / 3.2 = 10 is too much, so each factor is multiplied by sqrt(5 / 10); width: 32 / 8 = 4 is not
    assert dynpool.sizes(model, (3, 32, 32)) == {"input": (32, 32), "1": (14, 8), "2": (5, 4)}
    model(torch.zeros(1, 3, 32, 32))
    assert pools[0].heard == pools[1].heard
    assert pools[0].heard is not None
    assert pools[0].heard == pytest.approx((0.5**0.5, 1.0))
    # the fraction behind the first resizer is handed on: 34 / 1.6 = 21.25, times p
    first, second = (dynpool.sizes(model, (3, 34, 32))[name][0] for name in ("1", "2"))
    p = math.sqrt(5 / (34 / 3.2))
    assert (first, second) == (round(34 / 1.6 * p), round(34 / 3.2 * p * p))


def test_gmacs_gradient_carries_the_factor_of_the_chain() -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=Exponential)
    loss = dynpool.GMACsLoss(model, (3, 32, 32))
    # unrounded sizes: 32 / 2 * p and 32 / 4 * p * p = 5 with p = sqrt(5 / 8)
    p = math.sqrt(5 / 8)
    assert loss.surrogate().item() * 1e9 == pytest.approx(
        32 * 32 * 8 * 27 + (16 * p) ** 2 * 8 * 72 + 5**2 * 8 * 72 + 32, rel=1e-6
    )


def test_base_class_cannot_be_made_alone_and_ties_must_fit() -> None:
    with pytest.raises(TypeError, match="abstract"):
        LearnedResizer2d(2.0)  # type: ignore[abstract]
    with pytest.raises(TypeError, match=r"tied_to is a DynOPool2d: expected a Average or None"):
        Average(tied_to=DynOPool2d())


def test_alone_it_finds_its_own_size_and_is_constrained() -> None:
    pool = Average((1.6, 4.0))
    assert pool(torch.zeros(1, 1, 16, 16)).shape == (1, 1, 10, 4)
    with torch.no_grad():
        pool.shared_alpha().fill_(float("nan"))
    constrain_resizers([pool])
    assert host_alphas([pool])[0] == pytest.approx((1.6, 4.0))
