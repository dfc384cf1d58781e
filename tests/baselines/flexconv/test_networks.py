"""flexconv_network: what it replaces, what it leaves alone, and what the library does with the result."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.baselines import antialiasing_loss, flexconv_network
from dynpool.baselines.flexconv import FlexConv2d


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 5, 2, padding=2, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 4, 3, padding=1, groups=2),
    )


def layers(model: nn.Module) -> list[FlexConv2d]:
    return [module for module in model.modules() if isinstance(module, FlexConv2d)]


def test_kernels_start_at_the_sizes_of_the_original() -> None:
    model = plain()
    network, report = flexconv_network(model, (3, 16, 16))
    assert [row.name for row in report.replaced] == ["0", "3", "6"]
    assert [layer.extent for layer in layers(network)] == [(3, 3), (5, 5), (3, 3)]
    assert [layer.largest for layer in layers(network)] == [(17, 17), (17, 17), (9, 9)]
    x = torch.randn(2, 3, 16, 16)
    assert network(x).shape == model(x).shape
    assert dynpool.count_macs(network, (3, 16, 16)).total == dynpool.count_macs(model, (3, 16, 16)).total
    assert receptive_field(network, (3, 16, 16)).i_min == receptive_field(model, (3, 16, 16)).i_min
    assert layers(network)[1].bias is None
    assert not layers(model)


def test_kernels_start_with_the_variance_of_the_original() -> None:
    model = plain()
    originals = [module for module in model if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)]
    with torch.no_grad():
        originals[0].weight.mul_(3)
    network, _ = flexconv_network(model, (3, 16, 16))
    for layer, original in zip(layers(network), originals, strict=True):
        energies = [weight.square().sum((1, 2, 3)).mean() for weight in (layer.weight, original.weight)]
        torch.testing.assert_close(*energies)


def test_published_settings() -> None:
    network, _ = flexconv_network(plain(), (3, 32, 32), sigma=0.075, largest=33)
    assert [layer.extent for layer in layers(network)] == [(5, 5)] * 2  # the third map has 16 pixels: 33 > 2 * 16 - 1
    assert [layer.largest for layer in layers(network)] == [(33, 33)] * 2


def test_what_cannot_be_replaced_is_left_alone_with_the_reason() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, (1, 5), padding=(0, 2)), nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.MaxPool2d(4),
        nn.Conv2d(4, 4, 3, padding=1),
    )  # fmt: skip
    network, report = flexconv_network(model, (3, 8, 8), largest=15)
    reasons = {row.name: row.why for row in report.rows if row.status == "left alone"}
    assert set(reasons) == {"1", "2", "3", "4", "6"}
    for name, why in (("1", "transposed"), ("2", "separable"), ("3", "separable"), ("4", "dilation"), ("6", "15x15")):
        assert why in reasons[name]
    assert len(layers(network)) == 1
    for name, why in reasons.items():
        assert f"left alone: {why}" in str(report), name


def test_a_network_without_replaceable_layers_is_an_error() -> None:
    with pytest.raises(ValueError, match="without a convolution that can be replaced"):
        flexconv_network(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), (3, 4, 4), largest=33)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("sigma", 0.0, ValueError),
        ("sigma", math.inf, ValueError),
        ("sigma", "wide", TypeError),
        ("largest", 8, ValueError),
        ("threshold", 2.0, ValueError),
        ("hidden", 0, ValueError),
        ("learn", 1, TypeError),
        ("evaluation", "fast", ValueError),
    ],
)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{name}="):
        flexconv_network(plain(), (3, 16, 16), **{name: value})  # type: ignore[arg-type]


def test_the_control_does_not_learn_its_mask() -> None:
    network, _ = flexconv_network(plain(), (3, 16, 16), learn=False)
    network(torch.randn(1, 3, 16, 16)).square().sum().backward()
    for layer in layers(network):
        assert layer.mu.grad is None
        assert layer.sigma.grad is None
        assert layer.network.output.weight.grad is not None


def test_a_frozen_network_computes_the_same_and_exports() -> None:
    network, _ = flexconv_network(plain(), (3, 16, 16), sigma=0.3)
    x = torch.randn(2, 3, 16, 16)
    network(x)  # batch statistics
    network.eval()
    frozen = dynpool.freeze(network)
    assert {type(module) for module in frozen.modules()} <= {nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU}
    sides = [module.kernel_size for module in frozen.modules() if isinstance(module, nn.Conv2d)]
    assert [side for side in sides if side != (1, 1)] == [layer.extent for layer in layers(network)]
    torch.testing.assert_close(frozen(x), network(x), rtol=1e-4, atol=1e-5)
    for layer in layers(network):
        layer.evaluation = "spatial"
    assert torch.equal(frozen(x), network(x))
    exported = torch.export.export(frozen, (x,)).module()
    torch.testing.assert_close(exported(x), frozen(x))
    learned = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(learned(x), network(x))
    assert dynpool.count_macs(frozen, (3, 16, 16)).total == dynpool.count_macs(network, (3, 16, 16)).total


def test_the_tracker_follows_mu_and_sigma(tmp_path: Path) -> None:
    network, _ = flexconv_network(plain(), (3, 16, 16))
    tracker = IMinTracker(network, (3, 16, 16), tmp_path / "i_min.jsonl")
    first = tracker.log(0)
    with torch.no_grad():
        layers(network)[0].sigma[0] *= 3
        layers(network)[1].mu[1] = 0.5
    second = tracker.log(1)
    extents = [list(layer.extent) for layer in layers(network)]
    assert extents[0][0] > 3 == extents[0][1]
    assert extents[1][1] > 5 == extents[1][0]
    assert [first["kernels"][name] for name in "036"] == [[3, 3], [5, 5], [3, 3]]
    assert [second["kernels"][name] for name in "036"] == extents
    report = receptive_field(network, (3, 16, 16))
    assert second["i_min"] == list(report.i_min)
    assert second["i_min"] > first["i_min"]
    assert second["gmacs"] == pytest.approx(report.total_macs / 1e9)
    lines = [json.loads(line) for line in (tmp_path / "i_min.jsonl").read_text().splitlines()]
    assert [line["kernels"] for line in lines] == [first["kernels"], second["kernels"]]


def test_gmacs_loss_has_a_gradient_to_the_mask() -> None:
    network, _ = flexconv_network(plain(), (3, 16, 16))
    dynpool.GMACsLoss(network, (3, 16, 16))().backward()
    for layer in layers(network):
        assert layer.sigma.grad is not None
        assert (layer.sigma.grad > 0).all()


def test_a_step_of_training_moves_everything() -> None:
    network, _ = flexconv_network(plain(), (3, 16, 16))
    groups = dynpool.parameter_groups(network, lr=0.05, kernel_lr=0.005)
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        loss = network(torch.randn(4, 3, 16, 16)).square().mean() + antialiasing_loss(network, mask=False)
        loss.backward()
        optimizer.step()
        dynpool.constrain(network)
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter).all()
        assert not torch.equal(parameter, before[name]), name


def test_sizes_of_maps_can_be_learned_as_well() -> None:
    network, _ = flexconv_network(plain(), (3, 16, 16))
    converted = dynpool.convert(network, (3, 16, 16))
    assert list(dynpool.resolutions(converted)) == ["3"]
    assert dynpool.freeze(converted)(torch.randn(1, 3, 16, 16)).shape[:2] == (1, 4)
