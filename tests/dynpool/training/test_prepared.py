"""The latency that a configuration adds to a prepared network: a term of the loss, and a budget that is met."""

import pytest
import torch

from dynpool.training.budget import TOLERANCE
from dynpool.training.methods import prepare
from tests.dynpool.cost.simulated_device import PASS
from tests.dynpool.training.runs import AIMED, latency_started

SIZE = (1, 16, 16)
CPU = torch.device("cpu")


def test_a_weight_adds_the_predicted_milliseconds_to_the_loss(model, tiny, device):
    prepared, latency = latency_started(model, tiny("--latency.weight", "0.25", "--gmacs_weight", "3", *AIMED), SIZE)
    assert prepared.penalty is not None
    gmacs = prepare(model, tiny("--gmacs_weight", "3"), SIZE).penalty
    assert gmacs is not None
    assert prepared.penalty().item() == pytest.approx(0.25 * latency.value() + gmacs().item(), rel=1e-5)
    assert latency.value() > 1e3 * PASS
    latency().backward()
    assert device == [6]


@pytest.mark.parametrize("factor", [0.8, 1.5])
def test_a_budget_pulls_and_is_met_when_the_alphas_come_to_rest(model, tiny, device, factor):
    _, unaimed = latency_started(model, tiny("--latency.weight", "1", *AIMED), SIZE)
    fixed = 1e3 * PASS  # no size changes that
    target = fixed + factor * (unaimed.value() - fixed)
    prepared, latency = latency_started(model, tiny("--latency.budget", str(target), *AIMED), SIZE)
    assert prepared.penalty is not None
    prepared.penalty().backward()
    alphas = [alpha for group in prepared.groups if group["name"] == "alphas" for alpha in group["params"]]
    assert all(torch.all((alpha.grad > 0) == (factor > 1)) for alpha in alphas)
    for step in range(1, 11):
        prepared.after_step(step, 10)
        assert (abs(latency.value() / target - 1) <= TOLERANCE) == (step >= 5)
    assert device == [6, 6, 6], "measured again at the sizes that it settled to"


def test_a_budget_is_met_after_the_last_step_that_moves_sizes(model, tiny, device):
    """With alpha_until 0.5 of 9 steps that is the fifth, as steps 1 to 5 begin before half of them are done."""
    _, unaimed = latency_started(model, tiny("--latency.weight", "1", *AIMED), SIZE)
    target = 1e3 * PASS + 0.7 * (unaimed.value() - 1e3 * PASS)
    prepared, latency = latency_started(model, tiny("--latency.budget", str(target), *AIMED), SIZE)
    met = []
    for step in range(1, 10):
        prepared.after_step(step, 9)
        met.append(abs(latency.value() / target - 1) <= TOLERANCE)
    assert met == [False] * 4 + [True] * 5


def test_networks_with_fixed_sizes_are_measured_and_have_no_budget(model, tiny):
    prepared = prepare(model, tiny("--method", "human", "--latency.budget", "1e-9", *AIMED), SIZE)
    assert prepared.latency is not None
    assert prepared.penalty is None
    prepared.latency.start(CPU, 1)
    assert prepared.latency.to_dict() is None
    assert prepared.latency.measured() > 0
