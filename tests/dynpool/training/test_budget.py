"""A budget of GMACs is met when the alphas come to rest, or is refused as out of reach."""

import itertools
import math
import statistics
from collections.abc import Sequence

import pytest
import torch

import dynpool
from dynpool.analysis.comparison.findings import BUDGET_TOLERANCE
from dynpool.size_math import pair
from dynpool.training.budget import GOAL, TOLERANCE, Budget, cost_reached, scale_sizes
from dynpool.training.errors import ConfigError
from dynpool.training.methods import prepare
from dynpool.training.models import narrow_vgg

SIZE = (1, 16, 16)


def test_the_report_holds_runs_to_the_tolerance_that_training_promises():
    assert BUDGET_TOLERANCE == TOLERANCE


def test_a_budget_pulls_and_is_met_when_the_alphas_come_to_rest(model, tiny):
    designed = dynpool.count_macs(model, SIZE).gmacs
    for factor in (0.7, 1.6):
        options = ("--gmacs_budget", str(factor * designed), "--alpha_until", "0.5", "--budget_weight", "2")
        prepared = prepare(model, tiny(*options), SIZE)
        assert prepared.penalty is not None
        penalty = prepared.penalty()
        assert penalty.item() == pytest.approx(math.log(factor) ** 2, rel=1e-5)  # 2 * ln(1 / factor)^2 / 2
        penalty.backward()
        gradients = [r.alpha.grad for r in dynpool.resolutions(prepared.model).values()]
        assert all(torch.all((g > 0) == (factor > 1)) for g in gradients if g is not None)
        for step in range(1, 11):
            prepared.after_step(step, 10)
            cost = dynpool.count_macs(prepared.model, SIZE).gmacs
            assert (abs(cost / (factor * designed) - 1) <= TOLERANCE) == (step >= 5)


@pytest.mark.parametrize(("method", "factor"), [("shape-adaptor", 1.2), ("diffstride", 0.8), ("dynopool", 0.8)])
def test_learned_methods_meet_a_budget(method, factor, model, tiny):
    size = (1, 32, 32)
    gmacs = factor * dynpool.count_macs(prepare(model, tiny("--method", method), size).model, size).gmacs
    options = ("--method", method, "--gmacs_budget", str(gmacs), "--alpha_until", "0.5")
    prepared = prepare(model, tiny(*options), size)
    assert {g["name"] for g in prepared.groups} == {"weights", "alphas"}
    assert prepared.penalty is not None
    prepared.penalty().backward()
    prepared.after_step(5, 10)
    assert abs(dynpool.count_macs(prepared.model, size).gmacs / gmacs - 1) <= TOLERANCE
    prepared.model(torch.randn(2, *size)).sum().backward()


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3, 2.5])
def test_all_sizes_are_multiplied_by_one_factor(factor):
    size = (3, 64, 96)
    network = dynpool.convert(narrow_vgg(10, 3, widths=[8] * 5), size)
    designed = dynpool.sizes(network, size)
    gmacs = factor * dynpool.count_macs(network, size).gmacs
    excess = scale_sizes(Budget(network, size, gmacs))
    assert abs(dynpool.count_macs(network, size).gmacs / gmacs - 1) <= TOLERANCE
    assert excess == pytest.approx(math.log(dynpool.count_macs(network, size).gmacs / gmacs), abs=1e-9)
    scaled = dynpool.sizes(network, size)
    assert scaled.pop("input") == designed.pop("input") == (64, 96)
    if factor == 1.0:
        assert scaled == designed
    lows = [(n - 0.5) / m for name in scaled for n, m in zip(scaled[name], designed[name], strict=True)]
    highs = [(n + 0.5) / m for name in scaled for n, m in zip(scaled[name], designed[name], strict=True)]
    assert max(lows) <= min(highs), "one factor gives all sizes, rounded"


@pytest.mark.parametrize("sizes", [(25, 10, 5, 3), (20, 13, 5, 3), (20, 10, 7, 3), (20, 10, 4, 3), (20, 10, 5, 5)])
def test_where_rounding_misses_the_budget_few_pixels_are_changed(sizes):
    size = (3, 32, 32)
    network = dynpool.convert(narrow_vgg(10, 3, widths=[32, 64, 128, 128, 256]), size)
    names = [name for name in dynpool.sizes(network, size) if name != "input"]
    dynpool.set_sizes(network, {name: (side, side) for name, side in zip(names, sizes, strict=True)})
    scale_sizes(Budget(network, size, 0.022))
    assert dynpool.count_macs(network, size).gmacs == pytest.approx(0.022, rel=TOLERANCE)
    scaled = [dynpool.sizes(network, size)[name] for name in names]
    lows = [(side - 1.5) / before for pair, before in zip(scaled, sizes, strict=True) for side in pair]
    highs = [(side + 1.5) / before for pair, before in zip(scaled, sizes, strict=True) for side in pair]
    assert max(lows) <= min(highs), "one factor gives all sizes to within one pixel more or less than rounding"
    assert _spread([pair(size) for size in scaled], sizes) <= 1.4 * _least_spread(sizes, 0.022e9)


CHANNELS = [3, 32, 64, 128, 128, 256]


def _cost(sizes: Sequence[tuple[float, float]]) -> float:
    """MACs of the network with these sizes behind its pools."""
    maps = [(32, 32), *sizes]
    return sum(9 * CHANNELS[i] * CHANNELS[i + 1] * h * w for i, (h, w) in enumerate(maps)) + 256 * 10


def _spread(sizes: Sequence[tuple[int, int]], before: Sequence[int]) -> float:
    """Sum of squared deviations of ln(side / side before) from its mean."""
    logs = [math.log(side / own) for pair, own in zip(sizes, before, strict=True) for side in pair]
    return sum((log - statistics.fmean(logs)) ** 2 for log in logs)


def _least_spread(before: Sequence[int], macs: float) -> float:
    """That of all sizes which come from one factor by rounding each side up or down and cost what they should."""
    low, high = 0.1, 10.0
    for _ in range(60):
        factor = (low + high) / 2
        low, high = (
            (low, factor) if _cost([(side * factor, side * factor) for side in before]) > macs else (factor, high)
        )
    sides = [(math.floor(side * low), math.ceil(side * low)) for side in before for _ in "hw"]
    found = (list(zip(chosen[::2], chosen[1::2], strict=True)) for chosen in itertools.product(*sides))
    return min(_spread(sizes, before) for sizes in found if abs(math.log(_cost(sizes) / macs)) <= GOAL)


def test_sizes_stay_within_bounds_and_strides_follow():
    network = dynpool.convert(narrow_vgg(10, 1, widths=[4, 4, 4]), (1, 32, 32))
    scale_sizes(Budget(network, (1, 32, 32), 3.9 * dynpool.count_macs(network, (1, 32, 32)).gmacs))
    alphas = [r.alpha.tolist() for r in dynpool.resolutions(network).values()]
    assert all(0.5 <= a <= 8 for pair in alphas for a in pair)
    assert alphas[0][0] < 1 < alphas[1][0], "the first stride alone makes all maps larger"


def test_the_cost_reached_is_said():
    assert cost_reached(0.5, math.log(1.019)) == "sizes cost +1.9% of 0.5 GMACs, within 2%"
    assert cost_reached(0.5, math.log(0.97)) == "sizes cost -3.0% of 0.5 GMACs, NOT within 2%"


@pytest.mark.parametrize("method", ["random", "scaled", "resized", "dynopool", "shape-adaptor", "diffstride"])
@pytest.mark.parametrize("factor", [0.01, 1000.0])
def test_a_budget_out_of_reach_is_refused(method, factor, model, tiny):
    gmacs = factor * dynpool.count_macs(model, (1, 32, 32)).gmacs
    options = ("--method", method, "--gmacs_budget", str(gmacs), "--alpha_until", "0.5")
    with pytest.raises(
        ConfigError, match=r"gmacs_budget is [\d.e-]+, which is out of reach: .* cost [\d.e-]+( to [\d.e-]+)? GMACs"
    ):
        prepare(model, tiny(*options), (1, 32, 32))


def test_a_budget_in_another_unit_is_asked_about(model, caplog):
    learned = dynpool.convert(model, SIZE)
    now = dynpool.count_macs(learned, SIZE).gmacs
    Budget(learned, SIZE, 19 * now)
    assert not caplog.text
    Budget(learned, SIZE, 25 * now)
    assert "25 times what the network costs now" in caplog.text
    assert "is another unit meant?" in caplog.text
