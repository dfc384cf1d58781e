"""A method gives a network ready to train; unknown ones and networks they cannot use are refused."""

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.baselines import DiffStride2d, FlexConv2d, NJetConv2d, ShapeAdaptor2d, antialiasing_loss
from dynpool.resizers import learned_kernels
from dynpool.training.budget import TOLERANCE
from dynpool.training.errors import ConfigError
from dynpool.training.methods import METHODS, Prepared, prepare, register
from dynpool.training.models import narrow_vgg

SIZE = (1, 16, 16)


def test_human_is_the_model_itself(model, tiny):
    prepared = prepare(model, tiny("--method", "human"), SIZE)
    assert prepared.model is model
    assert [g["name"] for g in prepared.groups] == ["weights"]
    assert prepared.penalty is None


def test_dynopool_starts_from_the_same_weights_and_function(model, tiny):
    prepared = prepare(model, tiny("--method", "dynopool"), SIZE)
    own = prepared.model.state_dict()
    assert all(torch.equal(own[k], v) for k, v in model.state_dict().items())
    x = torch.randn(2, *SIZE)
    torch.testing.assert_close(prepared.model.eval()(x), model.eval()(x))
    rates = {g["name"]: (g["lr"], g["weight_decay"]) for g in prepared.groups}
    assert rates == {"weights": (0.05, 5e-4), "alphas": (0.3, 0.0)}


def test_alphas_have_their_own_momentum(model, tiny):
    prepared = prepare(model, tiny("--alpha_momentum", "0.5"), SIZE)
    optimizer = torch.optim.SGD(prepared.groups, lr=0.1, momentum=0.9, nesterov=True)
    assert [g["momentum"] for g in optimizer.param_groups] == [0.9, 0.5]
    optimizer = torch.optim.SGD(prepare(model, tiny(), SIZE).groups, lr=0.1, momentum=0.9, nesterov=True)
    assert [(g["momentum"], g["nesterov"]) for g in optimizer.param_groups] == [(0.9, True), (0.0, False)]


def test_the_penalty_is_the_weighted_gmacs(model, tiny):
    prepared = prepare(model, tiny("--gmacs_weight", "5"), SIZE)
    assert prepared.penalty is not None
    penalty = prepared.penalty()
    assert penalty.item() == pytest.approx(5 * dynpool.count_macs(prepared.model, SIZE).gmacs)
    penalty.backward()
    gradients = [r.alpha.grad for r in dynpool.resolutions(prepared.model).values()]
    assert all(g is not None and torch.all(g < 0) for g in gradients)


def test_after_a_step_alphas_are_in_bounds(model, tiny):
    prepared = prepare(model, tiny(), SIZE)
    alpha = next(iter(dynpool.resolutions(prepared.model).values())).alpha
    with torch.no_grad():
        alpha.fill_(float("nan"))
    prepared.after_step(1, 10)
    assert alpha.tolist() == [2.0, 2.0]


def test_fixed_has_the_operator_but_learns_no_size(model, tiny):
    prepared = prepare(model, tiny("--method", "fixed"), SIZE)
    assert [g["name"] for g in prepared.groups] == ["weights"]
    alphas = [r.alpha for r in dynpool.resolutions(prepared.model).values()]
    assert len(alphas) == 2
    weights = {id(p) for p in prepared.groups[0]["params"]}
    assert not any(id(a) in weights or a.requires_grad for a in alphas)
    assert prepared.penalty is None
    x = torch.randn(2, *SIZE)
    torch.testing.assert_close(prepared.model.eval()(x), model.eval()(x))


def test_scaled_is_fixed_at_the_designed_cost_and_uniform_at_another(model, tiny):
    designed = prepare(model, tiny("--method", "fixed"), SIZE)
    same = prepare(model, tiny("--method", "scaled"), SIZE)
    assert same.summary == designed.summary
    own, others = designed.model.state_dict(), same.model.state_dict()
    assert list(own) == list(others)
    assert all(torch.equal(own[name], others[name]) for name in own)
    cost = dynpool.count_macs(model, SIZE).gmacs
    scaled = prepare(model, tiny("--method", "scaled", "--gmacs_budget", str(1.5 * cost)), SIZE)
    assert dynpool.count_macs(scaled.model, SIZE).gmacs == pytest.approx(1.5 * cost, rel=TOLERANCE)
    assert [g["name"] for g in scaled.groups] == ["weights"]
    assert "within 2%" in scaled.summary
    assert all(
        min(dynpool.sizes(scaled.model, SIZE)[name]) >= min(size) for name, size in dynpool.sizes(model, SIZE).items()
    )


def test_random_sizes_cost_what_the_designed_ones_do_and_differ_by_seed(model, tiny):
    designed = dynpool.count_macs(model, SIZE).total
    found = []
    for seed in range(6):
        prepared = prepare(model, tiny("--method", "random", "--seed", str(seed)), SIZE)
        assert abs(dynpool.count_macs(prepared.model, SIZE).total / designed - 1) <= TOLERANCE
        assert [g["name"] for g in prepared.groups] == ["weights"]
        found.append(tuple(r.size for r in dynpool.resolutions(prepared.model).values()))
    assert len(set(found)) >= 5
    again = prepare(model, tiny("--method", "random", "--seed", "0"), SIZE).model
    assert tuple(r.size for r in dynpool.resolutions(again).values()) == found[0]


def test_shape_adaptors_step_now_and_then(model, tiny):
    assert prepare(model, tiny("--method", "shape-adaptor"), SIZE).alphas_every == 20
    deep = narrow_vgg(10, 1, widths=[4] * 6)
    standard = prepare(deep, tiny("--method", "shape-adaptor", "--shape_adaptor.mode", "standard"), (1, 32, 32))
    assert len(dynpool.resolutions(standard.model)) == 4  # floor(log2(32 / 2)) of them


def test_diffstride_takes_its_options(model, tiny):
    options = ("--diffstride.smoothness", "2", "--diffstride.symmetric", "true")
    prepared = prepare(model, tiny("--method", "diffstride", *options), SIZE)
    pools = [m for m in prepared.model.modules() if isinstance(m, DiffStride2d)]
    assert [(p.smoothness, p.symmetric) for p in pools] == [(2.0, True)] * 2


def test_conversion_preserves_the_function_of_strided_convolutions_if_asked(tiny):
    torch.manual_seed(0)
    strided = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    x = torch.randn(2, *SIZE)
    kept = prepare(strided, tiny("--conversion.preserve=true"), SIZE).model.eval()
    torch.testing.assert_close(kept(x), strided(x))
    assert not torch.allclose(prepare(strided, tiny(), SIZE).model.eval()(x), strided(x))


@pytest.mark.parametrize(("method", "kind"), [("shape-adaptor", ShapeAdaptor2d), ("diffstride", DiffStride2d)])
def test_baselines_can_be_as_published(model, tiny, method, kind):
    key = f"--{method.replace('-', '_')}.published"
    for value, published in ((), False), ((key, "true"), True):
        prepared = prepare(model, tiny("--method", method, *value), SIZE)
        assert {m.published for m in prepared.model.modules() if isinstance(m, kind)} == {published}


def test_flexconv_learns_its_masks_and_adds_the_antialiasing_loss(model, tiny):
    options = ("--method", "flexconv", "--kernel_lr", "0.2", "--flexconv.sigma", "0.3")
    prepared = prepare(model, tiny(*options, "--flexconv.antialias", "0.5", "--gmacs_weight", "5"), SIZE)
    layers = [m for m in prepared.model.modules() if isinstance(m, FlexConv2d)]
    masks = [id(parameter) for layer in layers for parameter in (layer.mu, layer.sigma)]
    weights, kernels = prepared.groups
    assert (weights["lr"], kernels["lr"], kernels["weight_decay"]) == (0.05, pytest.approx(0.02), 0.0)
    assert [id(parameter) for parameter in kernels["params"]] == masks
    assert all(layer.sigma.tolist() == pytest.approx([0.3, 0.3]) for layer in layers)
    cost = 5 * dynpool.GMACsLoss(prepared.model, SIZE)()
    aliasing = antialiasing_loss(prepared.model, weight=0.5, mask=False)
    assert aliasing > 0
    assert prepared.penalty is not None
    torch.testing.assert_close(prepared.penalty(), cost + aliasing)
    with torch.no_grad():
        layers[0].sigma.fill_(float("nan"))
    prepared.after_step(1, 10)
    assert layers[0].sigma.tolist() == pytest.approx([0.3, 0.3])


def test_flexconv_without_learning_is_its_control(model, tiny):
    options = ("--method", "flexconv", "--flexconv.learn", "false", "--flexconv.antialias", "0")
    prepared = prepare(model, tiny(*options), SIZE)
    assert [g["name"] for g in prepared.groups] == ["weights"]
    assert prepared.penalty is None
    with pytest.raises(ConfigError, match="gmacs_budget"):
        prepare(model, tiny("--method", "flexconv", "--gmacs_budget", "0.001"), SIZE)


@pytest.mark.parametrize(
    ("option", "value"),
    [("largest", "8"), ("largest", "1"), ("sigma", "0"), ("sigma", ".inf"), ("threshold", "1"), ("hidden", "0"),
     ("filters", "0"), ("scale", "0"), ("antialias", "-1")],
)  # fmt: skip
def test_bad_options_of_flexconv_are_named(tiny, option, value):
    with pytest.raises(ConfigError, match=f"flexconv.{option}"):
        tiny(f"--flexconv.{option}", value)


def test_options_of_flexconv_reach_its_layers(model, tiny):
    options = {"largest": "9", "threshold": "0.3", "hidden": "5", "filters": "2"}
    given = [f"--flexconv.{name}={value}" for name, value in options.items()]
    prepared = prepare(model, tiny("--method", "flexconv", *given), SIZE)
    layers = [m for m in prepared.model.modules() if isinstance(m, FlexConv2d)]
    assert {(layer.largest, layer.threshold) for layer in layers} == {((9, 9), 0.3)}
    found = {(len(layer.network.filters), layer.network.output.in_features) for layer in layers}
    assert found == {(2, 5)}


def test_the_scale_of_flexconv_is_that_of_its_frequencies(model, tiny):
    def weight(scale):
        torch.manual_seed(0)
        options = ("--method", "flexconv", "--flexconv.largest=9", "--flexconv.scale", scale)
        network = prepare(model, tiny(*options), SIZE).model
        return next(m for m in network.modules() if isinstance(m, FlexConv2d)).network.filters[0].weight

    torch.testing.assert_close(weight("20"), 2 * weight("10"))


def test_the_antialiasing_loss_counts_masks_if_asked(model, tiny):
    narrow = ("--method", "flexconv", "--flexconv.sigma=0.05", "--flexconv.largest=9")
    torch.manual_seed(0)
    prepared = prepare(model, tiny(*narrow, "--flexconv.antialias_mask=true"), SIZE)
    assert prepared.penalty is not None
    with_mask = antialiasing_loss(prepared.model, weight=0.1, mask=True)
    assert with_mask > antialiasing_loss(prepared.model, weight=0.1, mask=False)
    torch.testing.assert_close(prepared.penalty(), with_mask)


def test_refine_edits_until_i_min_is_below_the_input(tiny):
    deep = narrow_vgg(10, 1, widths=[4] * 5)
    before = receptive_field(deep, (1, 32, 32)).i_min
    prepared = prepare(deep, tiny("--method", "refine"), (1, 32, 32))
    after = receptive_field(prepared.model, (1, 32, 32)).i_min
    assert before[0] >= 32 > after[0]
    assert [g["name"] for g in prepared.groups] == ["weights"]
    assert prepared.summary


def test_unknown_method_names_the_known_ones(model, tiny):
    with pytest.raises(ConfigError, match=r"method is 'dynpool'.*did you mean 'dynopool'.*human"):
        prepare(model, tiny("--method", "dynpool"), SIZE)


def test_a_network_without_resizers_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"method 'dynopool' cannot use model 'narrow-vgg'.*nothing to learn"):
        prepare(narrow_vgg(10, 1, widths=[4]), tiny("--method", "dynopool"), SIZE)


def test_methods_can_be_added_once(model, tiny, monkeypatch):
    monkeypatch.delitem(METHODS, "mine", raising=False)

    @register("mine")
    def mine(model, config, input_size):
        return Prepared(nn.Identity(), [])

    assert isinstance(prepare(model, tiny("--method", "mine"), SIZE).model, nn.Identity)
    with pytest.raises(ValueError, match="already registered"):
        register("mine")(mine)
    del METHODS["mine"]


def test_njet_learns_kernels_with_a_rate_of_their_own(model, tiny):
    prepared = prepare(model, tiny("--method", "njet", "--kernel_lr", "0.02", "--njet.order", "2"), SIZE)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in prepared.groups] == [
        ("weights", 0.05, 5e-4),
        ("kernels", 0.02, 0.0),
    ]
    scale = prepared.groups[1]["params"][0]
    with torch.no_grad():
        scale.fill_(float("nan"))
    prepared.after_step(1, 10)
    assert scale.tolist() == [0.0]
    assert "left alone: its kernel of 7x7 pixels would be larger than its map" in prepared.summary


def test_options_of_njet_reach_its_layers(model, tiny):
    options = ("--njet.order=2", "--njet.sigmas=2", "--njet.truncate=3", "--njet.sigma=0.5")
    prepared = prepare(model, tiny("--method", "njet", *options), SIZE)
    layers = [m for m in prepared.model.modules() if isinstance(m, NJetConv2d)]
    assert layers
    for layer in layers:
        assert (layer.order, layer.truncate, layer.sigma.tolist()) == (2, 3.0, [0.5, 0.5])


def test_njet_subsamples_maps_if_asked(model, tiny):
    def layer(*options):
        network = prepare(model, tiny("--method", "njet", *options), SIZE).model
        return next(m for m in network.modules() if isinstance(m, NJetConv2d))

    x = torch.zeros(1, *SIZE)
    assert layer()(x).shape[-2:] == (16, 16)
    assert layer("--njet.subsample=0.5")(x).shape[-2:] == (8, 8)


def test_njet_with_a_fixed_sigma_is_the_control(model, tiny):
    prepared = prepare(model, tiny("--method", "njet", "--njet.learn", "false"), SIZE)
    assert [g["name"] for g in prepared.groups] == ["weights"]
    layers = learned_kernels(prepared.model).values()
    assert layers
    assert not any(layer.scale.requires_grad for layer in layers)


def test_njet_and_dynopool_learn_kernels_and_maps(model, tiny):
    prepared = prepare(model, tiny("--method", "njet+dynopool", "--gmacs_weight", "3"), SIZE)
    assert [g["name"] for g in prepared.groups] == ["weights", "alphas", "kernels"]
    assert prepared.penalty is not None
    penalty = prepared.penalty()
    assert penalty.item() == pytest.approx(3 * dynpool.count_macs(prepared.model, SIZE).gmacs)
    penalty.backward()
    scale = prepared.groups[2]["params"][0]
    assert scale.grad is not None
    assert scale.grad > 0
    assert all(r.alpha.grad is not None for r in dynpool.resolutions(prepared.model).values())


def test_the_penalty_of_njet_is_the_weighted_gmacs_of_its_kernels(model, tiny):
    prepared = prepare(model, tiny("--method", "njet", "--gmacs_weight", "3"), SIZE)
    assert prepared.penalty is not None
    assert prepared.penalty().item() == pytest.approx(3 * dynpool.count_macs(prepared.model, SIZE).gmacs)


def test_njet_and_dynopool_meet_a_budget(model, tiny):
    options = ("--method", "njet+dynopool", "--gmacs_budget", "0.0003", "--alpha_until", "0.5")
    prepared = prepare(model, tiny(*options), SIZE)
    layer = next(iter(learned_kernels(prepared.model).values()))
    with torch.no_grad():
        prepared.groups[2]["params"][0].fill_(-1.0)
    prepared.after_step(5, 10)
    assert layer.extent == (5, 5)
    assert dynpool.count_macs(prepared.model, SIZE).gmacs == pytest.approx(0.0003, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "njet", "--gmacs_budget", "0.001", "--alpha_until", "0.5"), "kernels change by whole pixels"),
        (("--method", "njet", "--latency.weight", "0.1", "--alpha_until", "0.5"), "latency.weight is 0.1; allowed: 0"),
        (("--method", "njet", "--latency.budget", "1", "--alpha_until", "0.5"), "latency.budget is 1.0; allowed: null"),
        (("--method", "njet+dynopool", "--njet.subsample", "2"), "njet.subsample is 2.0; allowed: null"),
        (("--method", "njet", "--njet.sigma", "9"), "without a convolution that can be replaced"),
    ],
)
def test_what_the_methods_with_learned_kernels_cannot_do_is_said(model, tiny, options, message):
    with pytest.raises(ConfigError, match=message):
        prepare(model, tiny(*options), SIZE)
