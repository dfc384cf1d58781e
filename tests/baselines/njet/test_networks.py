"""njet_network: what is replaced, what is left alone and why; the network learns, is measured, converted and frozen."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.baselines import NJetConv2d, njet_network

SIZE = (3, 32, 32)


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=2, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    )


def jets(**how: Any) -> Any:
    """The network with N-Jet layers."""
    return njet_network(network(), SIZE, **how)[0]


class Odd(nn.Module):
    """One of each convolution that is left alone, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.good = nn.Conv2d(3, 8, 3, padding=1)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.line = nn.Conv2d(8, 8, (1, 7), padding=(0, 3))
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.even = nn.Conv2d(8, 8, 4, padding=1)
        self.reflected = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1))
        self.down = nn.Conv2d(8, 8, 3, stride=8, padding=1)
        self.small = nn.Conv2d(8, 8, 3, padding=1)
        self.transposed = nn.ConvTranspose2d(8, 8, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return nn.functional.conv2d(x, torch.ones(1, 8, 3, 3))


def test_what_cannot_be_replaced_is_left_alone_with_its_reason():
    _, report = njet_network(Odd(), SIZE)
    why = {row.name: row.why for row in report.rows}
    assert why == {
        "good": "",
        "pointwise": "it is pointwise",
        "depthwise": "it is depthwise: already separable",
        "line": "it is one-dimensional: already separable",
        "dilated": "its dilation is 2x2",
        "even": "its kernel has an even side, and no central pixel",
        "reflected": "its padding mode is 'reflect'",
        "normed": "its weights are parametrised",
        "down": "",
        "small": "its kernel of 7x7 pixels would be larger than its map",
        "transposed": "it is transposed",
        "Odd": "it is called as a function",
    }
    assert [row.name for row in report.replaced] == ["good", "down"]
    assert "left alone: it is transposed" in str(report)
    assert report.to_dict()["rows"][0]["live"] == (7, 7)


def test_weights_that_two_layers_share_are_left_alone():
    net: Any = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    )
    net[1].weight = net[0].weight
    _, report = njet_network(net, SIZE)
    assert [row.why for row in report.rows] == ["it shares its weights", "it shares its weights", ""]


def test_nothing_of_what_was_given_changes_and_all_else_is_kept():
    net = network().eval()
    before = copy.deepcopy(net.state_dict())
    seen: list[str] = []
    net[2].register_forward_hook(lambda *_: seen.append("hook"))
    made: Any
    made, report = njet_network(net, SIZE)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert not any(isinstance(module, NJetConv2d) for module in net.modules())
    assert [type(made[i]) for i in (0, 2, 4)] == [NJetConv2d, NJetConv2d, nn.Conv2d]
    assert torch.equal(made[0].bias, net[0].bias)
    assert torch.equal(made[4].weight, net[4].weight)
    assert not any(module.training for module in made.modules())
    assert made(torch.zeros(1, *SIZE)).shape == net(torch.zeros(1, *SIZE)).shape
    assert seen == ["hook", "hook"]
    assert report.parameters == tuple(sum(p.numel() for p in m.parameters()) for m in (net, made))


def test_coefficients_keep_the_variance_that_the_own_weights_give():
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(64, 256, 3, padding=1, bias=False))
    nn.init.kaiming_normal_(net[0].weight)
    made: Any = njet_network(net, (64, 32, 32))[0]
    x = torch.randn(4, 64, 32, 32)
    ratio = made(x)[..., 3:-3, 3:-3].var() / net(x)[..., 3:-3, 3:-3].var()
    assert ratio.item() == pytest.approx(1.0, rel=0.05)


def test_sigma_cannot_make_a_kernel_larger_than_its_map():
    made = jets()
    with torch.no_grad():
        made[0].scale.fill_(9.0)
        made[2].scale.fill_(9.0)
    assert (made[0].extent, made[2].extent) == ((31, 31), (31, 31))
    made(torch.zeros(1, *SIZE))


def test_fields_macs_and_the_gmacs_loss_are_those_of_the_live_kernels():
    made = jets()
    loss = dynpool.GMACsLoss(made, SIZE)
    for scale, side in ((0.0, 7), (1.0, 11)):
        with torch.no_grad():
            made[2].scale.fill_(scale)
        macs = 32 * 32 * 8 * 3 * 49 + 16 * 16 * 8 * 4 * side**2 + 16 * 16 * 8 * 4
        assert dynpool.count_macs(made, SIZE).total == macs
        assert loss().item() == pytest.approx(macs / 1e9, rel=1e-6)
        rows = {row.name: row for row in receptive_field(made, SIZE).layers}
        assert (rows["2"].kernel, rows["2"].r_min) == ((side, side), (6 + side, 6 + side))
        assert rows["0"].parameters == 8 * 3 * 10 + 1 + 8
        assert rows["2"].macs == 16 * 16 * 8 * 4 * side**2


def test_the_gradient_of_the_gmacs_loss_is_that_of_the_unrounded_kernel():
    made = jets().double()
    dynpool.GMACsLoss(made, SIZE)().backward()
    side, by_scale = 2 * (2 * 1.0 + 1) + 1, 4 * math.log(2)  # d side / d scale = 2 * truncate * sigma * ln(2)
    assert made[0].scale.grad.item() == pytest.approx(32 * 32 * 8 * 3 * 2 * side * by_scale / 1e9, rel=1e-6)


def test_the_tracker_follows_sigma(tmp_path):
    made = jets()
    tracker = IMinTracker(made, SIZE, tmp_path / "i_min.jsonl")
    first = tracker.log(0)
    with torch.no_grad():
        made[0].scale.fill_(1.0)
    second = tracker.log(1)
    assert first["kernels"] == {"0": [7, 7], "2": [7, 7]}
    assert second["kernels"] == {"0": [11, 11], "2": [7, 7]}
    assert second["kernel_maps"] == {"0": [32, 32], "2": [32, 32]}
    assert second["i_min"][0] - first["i_min"][0] == 4
    assert second["gmacs"] == dynpool.count_macs(made, SIZE).gmacs > first["gmacs"]


def test_maps_of_a_converted_network_are_tracked_and_costed_with_their_kernels(tmp_path):
    learned: Any = dynpool.convert(jets(), SIZE)
    tracker = IMinTracker(learned, SIZE, tmp_path / "i_min.jsonl")
    loss = dynpool.GMACsLoss(learned, SIZE)
    dynpool.set_sizes(learned, {"2": (11, 21)})
    with torch.no_grad():
        learned[2].scale.fill_(1.0)
    record = tracker.log(0)
    assert record["sizes"]["2"] == [11, 21]
    assert record["gmacs"] == dynpool.count_macs(learned, SIZE).gmacs
    assert loss().item() == pytest.approx(record["gmacs"], rel=1e-6)
    loss().backward()
    assert learned[2].scale.grad is not None
    assert dynpool.resolutions(learned)["2"].alpha.grad is not None


@pytest.mark.parametrize("preserve", [False, True])
def test_a_network_with_learned_maps_and_kernels_freezes_and_exports(preserve):
    learned: Any = dynpool.convert(jets(), SIZE, preserve=preserve).double().eval()
    if not preserve:
        dynpool.set_sizes(learned, {"2": (11, 21)})
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    frozen: Any = dynpool.freeze(learned)
    assert not any(isinstance(module, NJetConv2d) for module in frozen.modules())
    torch.testing.assert_close(frozen(x), learned(x), rtol=0, atol=1e-14)
    live, plain = (receptive_field(network, SIZE).layers for network in (learned, frozen))
    kernels = [[(row.kernel, row.r_min) for row in rows if row.kind == "convolution"] for rows in (live, plain)]
    assert kernels[0] == kernels[1]
    assert len(kernels[0]) == 3
    assert torch.equal(frozen[0].bias, learned[0].bias)
    exported = torch.export.export(frozen, (x,)).module()
    torch.testing.assert_close(exported(x), learned(x), rtol=0, atol=1e-14)


def test_groups_of_the_optimiser_have_the_scales_apart_without_weight_decay():
    learned: Any = dynpool.convert(jets(), SIZE)
    groups = {g["name"]: g for g in dynpool.parameter_groups(learned, lr=0.1, kernel_lr=0.02, alpha_lr=0.3)}
    assert [g["lr"] for g in groups.values()] == [0.1, 0.3, 0.02]
    assert groups["kernels"]["weight_decay"] == 0
    assert [id(p) for p in groups["kernels"]["params"]] == [id(learned[0].scale), id(learned[2].scale)]
    assert sum(len(g["params"]) for g in groups.values()) == len(list(learned.parameters()))


def test_sigma_is_learned_with_the_weights():
    torch.manual_seed(0)
    single = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    made: Any = njet_network(single, (1, 24, 24), order=0)[0]
    target = NJetConv2d(1, 1, 3, padding=1, bias=False, order=0, sigma=2.0)
    with torch.no_grad():
        target.coefficients.fill_(1.0)
        made[0].coefficients.fill_(1.0)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.05)
    for _ in range(150):
        x = torch.randn(8, 1, 24, 24)
        loss = (made(x) - target(x).detach()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        dynpool.constrain(made)
    assert made[0].sigma.item() == pytest.approx(2.0, abs=0.05)
    assert made[0].extent == target.extent


def test_a_fixed_sigma_is_not_learned():
    made = jets(learn=False)
    made(torch.randn(1, *SIZE)).sum().backward()
    assert made[0].scale.grad is None
    assert made[0].coefficients.grad is not None


def test_the_parameters_of_a_layer_depend_on_the_order_and_not_on_the_size():
    counts = [njet_network(network(), SIZE, order=order)[1].parameters[1] for order in (1, 2, 3, 4)]
    own = 8 * 3 + 8 * 4  # pairs of channels
    assert counts == [own * f + 2 + 8 + 36 for f in (3, 6, 10, 15)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0.0}, "sigma=0.0: expected a finite positive number"),
        ({"sigma": math.inf}, "sigma=inf: expected a finite positive number"),
        ({"order": -1}, "order=-1: expected an integer of at least 0"),
        ({"sigmas": 0}, "sigmas=0: expected an integer of at least 1"),
        ({"truncate": -1.0}, "truncate=-1.0: expected a finite positive number"),
        ({"subsample": math.inf}, "subsample=inf: expected a finite positive number, or None"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        njet_network(network(), SIZE, **change)


def test_a_model_without_a_convolution_to_replace_is_refused_with_the_reasons():
    with pytest.raises(
        ValueError, match=r"Sequential without a convolution that can be replaced:(.|\n)*larger than its map"
    ):
        njet_network(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), SIZE, sigma=10.0)


def test_a_converted_model_is_refused():
    with pytest.raises(ValueError, match="replace its convolutions first, then convert it"):
        njet_network(dynpool.convert(network(), SIZE), SIZE)


def test_a_frozen_network_exports_to_onnx_with_its_live_kernels(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    made = jets().eval()
    with torch.no_grad():
        made[2].scale.fill_(1.0)
    x = torch.randn(1, *SIZE)
    path = tmp_path / "model.onnx"
    torch.onnx.export(dynpool.freeze(made), (x,), path, dynamo=True)
    (found,) = onnxruntime.InferenceSession(path).run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), made(x).detach(), rtol=1e-4, atol=1e-5)
