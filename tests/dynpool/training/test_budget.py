"""A budget of GMACs is met when the alphas come to rest, or is refused as out of reach."""

import math

import pytest
import torch

import dynpool
from dynpool.analysis.comparison.findings import BUDGET_TOLERANCE
from dynpool.training.budget import TOLERANCE
from dynpool.training.errors import ConfigError
from dynpool.training.methods import prepare

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


@pytest.mark.parametrize("method", ["random", "dynopool", "shape-adaptor", "diffstride"])
@pytest.mark.parametrize("factor", [0.01, 1000.0])
def test_a_budget_out_of_reach_is_refused(method, factor, model, tiny):
    gmacs = factor * dynpool.count_macs(model, (1, 32, 32)).gmacs
    options = ("--method", method, "--gmacs_budget", str(gmacs), "--alpha_until", "0.5")
    with pytest.raises(
        ConfigError, match=r"gmacs_budget is [\d.e-]+, which is out of reach: .* cost [\d.e-]+ to [\d.e-]+ GMACs"
    ):
        prepare(model, tiny(*options), (1, 32, 32))
