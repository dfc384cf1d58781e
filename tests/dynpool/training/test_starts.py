"""Learned sizes start as designed, at random ones of a given cost, or at given ones; weights stay the same."""

import pytest
import torch

import dynpool
from dynpool.training.budget import TOLERANCE
from dynpool.training.data import load_data
from dynpool.training.errors import ConfigError
from dynpool.training.loop import prepare_model, train
from dynpool.training.methods import prepare
from tests.dynpool.training.runs import assert_same_run

SIZE = (1, 32, 32)


def alphas(model):
    return {name: r.alpha.tolist() for name, r in dynpool.resolutions(model).items()}


@pytest.mark.parametrize("factor", [None, 0.8, 1.5])
def test_a_random_start_is_that_of_the_method_random(factor, model, tiny):
    cost = dynpool.count_macs(model, SIZE).gmacs
    start, budget = ["--start", "random"], []
    if factor is not None:
        start += ["--start_gmacs", str(factor * cost)]
        budget = ["--gmacs_budget", str(factor * cost)]
    for seed in ("3", "5"):
        learned = prepare(model, tiny("--seed", seed, *start), SIZE)
        control = prepare(model, tiny("--seed", seed, "--method", "random", *budget), SIZE)
        assert alphas(learned.model) == alphas(control.model)
        assert abs(dynpool.count_macs(learned.model, SIZE).gmacs / ((factor or 1) * cost) - 1) <= TOLERANCE
        assert [g["name"] for g in learned.groups] == ["weights", "alphas"]
        assert "random start: sizes cost" in learned.summary
    assert alphas(learned.model) != alphas(prepare(model, tiny("--seed", "3", *start), SIZE).model)


@pytest.mark.parametrize("method", ["dynopool", "shape-adaptor", "diffstride"])
def test_every_learned_method_starts_at_random_sizes_with_the_same_weights(method, tiny):
    options = (
        "--method",
        method,
        "--data.resolution",
        "32",
        "--diffstride.smoothness",
        "1",
        "--model.options.widths=[4,4,4,4,4]",
    )
    dataset = load_data(tiny(*options).data)
    cost = 1.3 * dynpool.count_macs(prepare_model(tiny(*options), dataset).model, SIZE).gmacs
    found = set()
    for seed in ("0", "1", "2"):
        both = [("--seed", seed), ("--seed", seed, "--start", "random", "--start_gmacs", str(cost))]
        designed, started = (prepare_model(tiny(*options, *more), dataset).model for more in both)
        own, others = designed.state_dict(), started.state_dict()
        weights = [name for name in own if not name.endswith("alpha")]
        assert weights
        assert all(torch.equal(own[name], others[name]) for name in weights)
        assert dynpool.count_macs(started, SIZE).gmacs == pytest.approx(cost, rel=TOLERANCE)
        started(torch.zeros(2, *SIZE))
        found.add(tuple(dynpool.sizes(started, SIZE).values()))
    assert len(found) >= 2


def test_the_first_step_of_the_alphas_is_around_a_random_start(model, tiny):
    prepared = prepare(model, tiny("--start", "random"), SIZE)
    before = alphas(prepared.model)
    prepared.after_step(1, 10)
    assert alphas(prepared.model) == before


@pytest.mark.parametrize("name", ['"3"', "3"])
def test_given_sizes_are_those_before_training(name, model, tiny):
    started = prepare(model, tiny("--start", f"{{{name}: [20, 12]}}"), SIZE).model
    assert dynpool.sizes(started, SIZE) == {"input": (32, 32), "3": (20, 12), "7": (10, 6)}  # the other stride is kept
    assert "given sizes" in prepare(model, tiny("--start.3", "[20, 12]"), SIZE).summary


def test_fixed_stays_at_its_start_and_scaled_keeps_the_proportions(model, tiny):
    start = ("--start", '{"3": [24, 8], "7": [4, 8]}')
    fixed = prepare(model, tiny("--method", "fixed", *start), SIZE)
    assert dynpool.sizes(fixed.model, SIZE) == {"input": (32, 32), "3": (24, 8), "7": (4, 8)}
    assert [group["name"] for group in fixed.groups] == ["weights"]
    assert fixed.summary.endswith("started at the given sizes")
    cost = dynpool.count_macs(fixed.model, SIZE).gmacs
    scaled = prepare(model, tiny("--method", "scaled", *start, "--gmacs_budget", str(2 * cost)), SIZE)
    assert dynpool.count_macs(scaled.model, SIZE).gmacs == pytest.approx(2 * cost, rel=TOLERANCE)
    own, before = dynpool.sizes(scaled.model, SIZE), dynpool.sizes(fixed.model, SIZE)
    factors = [new / old for name in ("3", "7") for new, old in zip(own[name], before[name], strict=True)]
    assert min(factors) > 1.25
    assert max(factors) - min(factors) < 0.3  # of whole pixels


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ('{"4": [20, 12]}', "start: sizes names an unknown resolution '4'"),
        ('{"3": [20, 1]}', r"start is .*; allowed: sizes of at least 2 pixels a side"),
        ("{}", "start is {}; allowed: designed, random, or sizes by the names"),
        ("rnadom", r"start is 'rnadom'; allowed: one of designed, random or \{NAME: \[a number for each axis\]"),
        ('{"3": [20]}', r"start: sizes\['3'\] must be \(height, width\)"),
    ],
)
def test_wrong_starts_are_refused(sizes, message, model, tiny):
    with pytest.raises(ConfigError, match=message):
        prepare(model, tiny("--start", sizes), SIZE)


def test_the_cost_of_a_start_needs_random_sizes_and_must_be_within_reach(model, tiny):
    with pytest.raises(ConfigError, match=r"start_gmacs is 0.001; allowed: null unless start is random"):
        tiny("--start_gmacs", "0.001")
    with pytest.raises(ConfigError, match=r"start_gmacs is 0.0; allowed: null, or a finite number above 0"):
        tiny("--start", "random", "--start_gmacs", "0")
    with pytest.raises(ConfigError, match=r"start_gmacs is 1000.0, which is out of reach"):
        prepare(model, tiny("--start", "random", "--start_gmacs", "1000"), SIZE)


def test_designed_is_what_a_run_starts_at_anyway(tiny, tmp_path):
    train(tiny(out=tmp_path / "a"))
    train(tiny("--start", "designed", out=tmp_path / "b"))
    assert_same_run(tmp_path / "a", tmp_path / "b")
