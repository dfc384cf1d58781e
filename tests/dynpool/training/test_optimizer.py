"""The optimiser of a run: its groups, its options and the schedule of its rates."""

import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from torch import nn

from dynpool.training.checkpoint import restore_optimizer
from dynpool.training.config import RunConfig
from dynpool.training.config_sections import OptimizerConfig
from dynpool.training.errors import ConfigError
from dynpool.training.methods import prepare
from dynpool.training.models import narrow_vgg
from dynpool.training.optimizer import learning_rate_factor, make_optimizer


def prepared(model: nn.Module, *, method: str = "dynopool", **settings) -> tuple[nn.Module, list, RunConfig]:
    config = RunConfig(method=method, **settings)
    found = prepare(model, config, (1, 16, 16))
    return found.model, found.groups, config


def rates(optimizer: torch.optim.Optimizer) -> dict[int, tuple[float, float]]:
    """(learning rate, weight decay) of each parameter."""
    return {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


def test_sgd_is_pytorchs_with_nesterov_momentum(model):
    model, groups, config = prepared(model)
    optimizer = make_optimizer(model, groups, config)
    assert type(optimizer) is torch.optim.SGD
    assert [(g["name"], g["nesterov"], g["momentum"]) for g in optimizer.param_groups] == [
        ("weights", True, 0.9), ("alphas", False, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["adamw", "lamb", "lion", "sgdp", "rmsproptf", "adafactor"])
def test_an_optimiser_of_timm_moves_weights_and_alphas_at_their_own_rates(model, name):
    settings = OptimizerConfig(name=name)
    model, groups, config = prepared(model, optimizer=settings, lr=0.01, alpha_lr=0.002, weight_decay=0.1)
    optimizer = make_optimizer(model, groups, config)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ("weights", 0.01, 0.1), ("alphas", 0.002, 0.0),
    ]  # fmt: skip
    alphas, weight = optimizer.param_groups[1]["params"], next(model.parameters())
    before = [alpha.detach().clone() for alpha in alphas], weight.detach().clone()
    model(torch.rand(4, 1, 16, 16)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(weight, before[1])
    assert any(not torch.equal(alpha, old) for alpha, old in zip(alphas, before[0], strict=True))


@pytest.mark.parametrize("name", ["sgd", "lamb", "adafactor", "cadafactor", "muon", "lookahead_adamw"])
def test_a_restored_optimiser_goes_on_to_the_same_bits(name):
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))

    def made():
        torch.manual_seed(0)
        found, groups, config = prepared(
            narrow_vgg(10, 1, widths=[4, 6, 8]), optimizer=OptimizerConfig(name=name), lr=1e-3, alpha_lr=1e-3
        )
        return found, make_optimizer(found, groups, config)

    def steps(network, optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()

    network, optimizer = made()
    steps(network, optimizer)
    file = io.BytesIO()
    torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, restored = made()
    other.load_state_dict(saved["model"])
    checkpoint: Any = SimpleNamespace(optimizer=saved["optimizer"])
    restore_optimizer(restored, checkpoint, Path("last.pt"))
    steps(network, optimizer)
    steps(other, restored)
    assert all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


def test_options_reach_the_optimiser_and_alpha_momentum_is_the_first_beta_of_the_alphas(model):
    settings = OptimizerConfig(name="AdamW", options={"betas": [0.8, "0.95"], "eps": "1e-6"})  # as YAML reads 1e-6
    optimizer = make_optimizer(*prepared(model, optimizer=settings, alpha_momentum=0.5))
    assert [(tuple(g["betas"]), g["eps"]) for g in optimizer.param_groups] == [((0.8, 0.95), 1e-6), ((0.5, 0.95), 1e-6)]


def test_vectors_decay_only_if_asked(model):
    model, groups, config = prepared(model, optimizer=OptimizerConfig(decay_vectors=False), weight_decay=0.1)
    optimizer = make_optimizer(model, groups, config)
    alphas = {id(alpha) for alpha in groups[1]["params"]}
    of = rates(optimizer)
    assert of.keys() == {id(p) for p in model.parameters()}
    for parameter in model.parameters():
        decay = 0.0 if id(parameter) in alphas or parameter.ndim < 2 else 0.1
        assert of[id(parameter)][1] == decay
    assert [g["name"] for g in optimizer.param_groups].count("alphas") == 1


def test_kernels_keep_their_own_rate_where_weights_are_split(model):
    model, groups, config = prepared(
        model, method="njet", optimizer=OptimizerConfig(decay_vectors=False), weight_decay=0.1, kernel_lr=0.2
    )
    of = rates(make_optimizer(model, groups, config))
    (kernels,) = (group for group in groups if group["name"] == "kernels")
    assert kernels["params"]
    assert {of[id(scale)] for scale in kernels["params"]} == {(0.2, 0.0)}


def test_what_a_network_names_does_not_decay(model):
    model.no_weight_decay = lambda: {"0.weight"}
    model, groups, config = prepared(
        model, method="human", optimizer=OptimizerConfig(decay_vectors=False), weight_decay=0.1
    )
    of = rates(make_optimizer(model, groups, config))
    assert of[id(model.get_parameter("0.weight"))][1] == 0.0
    assert of[id(model.get_parameter("4.weight"))][1] == 0.1


def test_layers_nearer_to_the_input_learn_more_slowly():
    model = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    settings = OptimizerConfig(name="adamw", layer_decay=0.5)
    model, groups, config = prepared(model, optimizer=settings, lr=0.01, alpha_lr=0.3)
    of = rates(make_optimizer(model, groups, config))
    assert of.keys() == {id(p) for p in model.parameters()}
    head, stem = of[id(model.get_parameter("fc.weight"))][0], of[id(next(iter(model.parameters())))][0]
    assert head == 0.01
    assert math.log2(head / stem) >= 4, "a stage of the network is a layer at least"
    assert all(of[id(alpha)] == (0.3, 0.0) for alpha in groups[1]["params"])


def test_a_wrong_optimiser_or_option_is_an_error(model):
    with pytest.raises(
        ConfigError, match=r"optimizer.name is 'adamww', which timm does not know; did you mean 'adamw'"
    ):
        make_optimizer(*prepared(model, method="human", optimizer=OptimizerConfig(name="adamww")))
    with pytest.raises(ConfigError, match=r"optimizer.options is .*; allowed: options without lr: set lr"):
        OptimizerConfig(name="adamw", options={"lr": 0.1})
    with pytest.raises(ConfigError, match=r"optimizer.name is 'adahessian', which needs second derivatives"):
        make_optimizer(*prepared(model, method="human", optimizer=OptimizerConfig(name="adahessian")))
    with pytest.raises(ConfigError, match=r"optimizer.layer_decay is 0.5; allowed: 1 for the model 'narrow-vgg'"):
        make_optimizer(*prepared(model, method="human", optimizer=OptimizerConfig(layer_decay=0.5)))
    settings = OptimizerConfig(name="adamw", options={"betas": [0.9]})
    with pytest.raises(ConfigError, match=r"optimizer 'adamw' with options \{'betas': \[0.9\]\}"):
        make_optimizer(*prepared(model, method="human", optimizer=settings))
    settings = OptimizerConfig(name="adamw", options={"speed": 1})
    with pytest.raises(ConfigError, match=r"optimizer 'adamw' with options \{'speed': 1\}: .*speed"):
        make_optimizer(*prepared(model, method="human", optimizer=settings))


def test_multistep_divides_at_its_milestones():
    factor = learning_rate_factor(RunConfig(epochs=10, scheduler="multistep", milestones=(0.3, 0.6, 0.9)), 10)
    assert [factor(step) for step in (0, 29, 30, 59, 60, 90)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.001])


def test_learning_rates():
    def rates(steps, **options):
        factor = learning_rate_factor(RunConfig(epochs=4, **options), 10)
        return [round(factor(s), 4) for s in steps]

    assert rates([0, 20, 40]) == [1.0, 0.5, 0.0]
    assert rates([0, 39], scheduler="constant") == [1.0, 1.0]
    early = learning_rate_factor(RunConfig(epochs=4), 10, fraction=0.5)
    assert [round(early(step), 4) for step in (0, 10, 20, 39)] == [1.0, 0.5, 0.0, 0.0]
    resting = learning_rate_factor(RunConfig(epochs=4, warmup_epochs=2), 10, fraction=0.25)
    assert [resting(step) for step in (9, 10, 19)] == [0.5, 0.0, 0.0]  # a longer warm-up does not wake it again
    assert rates([0, 19, 20, 29, 30], scheduler="multistep") == [1.0, 1.0, 0.1, 0.1, 0.01]
    assert rates([0, 4, 9, 10], scheduler="constant", warmup_epochs=1) == [0.1, 0.5, 1.0, 1.0]
