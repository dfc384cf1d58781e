"""Pruned weights are those below one threshold over all layers, and stay zero through fine-tuning."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import dynpool
from dynpool.analysis import prune_globally, pruning_curve
from tests.networks import three_resizers

SIZE = (3, 16, 16)
LAYERS = ("0", "3", "7", "10")


def images(number=8):
    return torch.randn(number, *SIZE, generator=torch.Generator().manual_seed(0))


def part(model, name) -> Any:
    """A layer of a model."""
    return model.get_submodule(name)


def train(model, steps=3, lr=0.1):
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, lr=lr), momentum=0.9, weight_decay=1e-2)
    for _ in range(steps):
        loss = F.cross_entropy(model(images()), torch.arange(8) % 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("amount", [0, 0.3, 0.5, 0.9, 0.999])
def test_masks_are_those_of_one_threshold_over_all_layers(amount):
    model = three_resizers()
    weights = {name: part(model, name).weight for name in LAYERS}
    every = torch.cat([w.detach().abs().flatten() for w in weights.values()]).sort().values
    removed = round(amount * len(every))
    threshold = every[removed - 1] if removed else -1.0
    pruned = prune_globally(model, amount)
    for name, weight in weights.items():
        layer = part(pruned, name)
        assert torch.equal(layer.weight_mask, (weight.abs() > threshold).float()), name
        assert torch.equal(layer.weight, torch.where(weight.abs() > threshold, weight, 0.0)), name
        assert torch.equal(layer.weight_orig, weight)
    others = set(dict(model.named_parameters())) - {f"{name}.weight" for name in LAYERS}
    assert all(torch.equal(pruned.get_parameter(n), model.get_parameter(n)) for n in others)
    assert sum(int(part(pruned, n).weight_mask.sum()) for n in LAYERS) == len(every) - removed


@pytest.mark.parametrize("make", [three_resizers, lambda: dynpool.convert(three_resizers(), SIZE)])
def test_masks_hold_while_weights_and_alphas_are_trained(make):
    model = make()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    pruned = prune_globally(model, 0.7)
    alphas = [n for n, _ in pruned.named_parameters() if n.endswith("alpha")]
    assert not any("mask" in name and "alpha" in name for name in pruned.state_dict())
    masks = {n: part(pruned, n).weight_mask.clone() for n in LAYERS}
    started = {n: part(pruned, n).weight.detach().clone() for n in LAYERS}
    train(pruned.train(), lr=0.01)
    pruned(images())
    for name, mask in masks.items():
        weight = part(pruned, name).weight
        assert torch.equal(weight[mask == 0], torch.zeros(int((mask == 0).sum())))
        assert not torch.equal(weight[mask == 1], started[name][mask == 1])
    assert all(not torch.equal(pruned.get_parameter(n), before[n]) for n in alphas)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not any(prune.is_pruned(m) for m in model.modules())


def test_frozen_models_are_pruned_too():
    frozen = dynpool.freeze(dynpool.convert(three_resizers(), SIZE, preserve=True)).eval()
    plain = three_resizers().eval()
    torch.testing.assert_close(prune_globally(frozen, 0.6)(images()), prune_globally(plain, 0.6)(images()))


def test_curve_equals_the_steps_by_hand_from_one_random_state():
    model = three_resizers()

    def evaluate(m):
        assert not m.training
        return F.cross_entropy(m(images()), torch.arange(8) % 4).item()

    def fine_tune(m):
        assert m.training
        noise = torch.randn(8, *SIZE)  # an augmentation
        optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
        F.cross_entropy(m(images() + noise), torch.arange(8) % 4).backward()
        optimizer.step()

    seen = []
    torch.manual_seed(5)
    state = torch.get_rng_state()
    report = pruning_curve(
        model, [0.9, 0.5, 0.5], evaluate, fine_tune=fine_tune, progress=lambda *done: seen.append(done)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert report.dense == evaluate(three_resizers().eval())
    assert [row.amount for row in report.rows] == [0.5, 0.9]
    for row in report.rows:
        pruned = prune_globally(model, row.amount)
        before = evaluate(pruned.eval())
        torch.manual_seed(5)
        fine_tune(pruned.train())
        assert (row.score, row.score_after) == (before, evaluate(pruned.eval()))
        zeros = {n: 1 - int(part(pruned, n).weight.count_nonzero()) / part(pruned, n).weight.numel() for n in LAYERS}
        assert row.sparsity == pytest.approx(zeros)
        assert row.kept == sum(int(part(pruned, n).weight.count_nonzero()) for n in LAYERS)
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert model.training


def test_a_layer_without_weights_is_a_notice():
    model = three_resizers()
    with torch.no_grad():
        part(model, "3").weight.mul_(1e-6)
    report = pruning_curve(model, [0.1, 0.8, 0.9], lambda m: 1.0)
    assert report.notices == ("'3' has no weight left from an amount of 0.8 on",)
    assert [row.score_after for row in report.rows] == [None] * 3


def forget(model):
    for name in LAYERS:
        prune.remove(part(model, name), "weight")
    train(model)


def finish(model):
    train(model)
    for name in LAYERS:
        prune.remove(part(model, name), "weight")


def test_fine_tuning_must_keep_the_masks():
    with pytest.raises(
        ValueError, match=r"fine_tune: \d+ pruned weights of '0' are not zero after it, at an amount of"
    ):
        pruning_curve(three_resizers(), [0.5], lambda m: 0.0, fine_tune=forget)
    assert pruning_curve(three_resizers(), [0.5], lambda m: 0.5, fine_tune=finish).rows[0].score_after == 0.5


def shared():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


def nan():
    model = nn.Sequential(nn.Linear(3, 3))
    with torch.no_grad():
        model[0].get_parameter("weight")[0, 0] = torch.nan
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: prune_globally(three_resizers(), 0.5), "'0', '3', '7', '10' are pruned already"),
        (
            lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))),
            "weights of '0' are computed from other",
        ),
        (lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 3))), "weights of '0' are computed from other"),
        (shared, "'0' and '1' share their weight"),
        (nan, "the weight of '0' has NaN"),
        (nn.ReLU, "the ReLU has no convolution or linear layer to prune"),
    ],
)
def test_models_that_cannot_be_pruned(make, message):
    for call in (lambda m: prune_globally(m, 0.5), lambda m: pruning_curve(m, [0.5], lambda m: 0.0)):
        with pytest.raises(ValueError, match=message):
            call(make())


def test_masks_made_permanent_count_as_the_smallest_weights():
    once = prune_globally(three_resizers(), 0.5)
    for name in LAYERS:
        prune.remove(part(once, name), "weight")
    twice, direct = prune_globally(once, 0.8), prune_globally(three_resizers(), 0.8)
    for name in LAYERS:
        assert torch.equal(part(twice, name).weight_mask, part(direct, name).weight_mask)


def test_an_evaluation_without_a_number():
    with pytest.raises(TypeError, match="evaluate must return one number, got None"):
        pruning_curve(three_resizers(), [0.5], lambda m: None)
