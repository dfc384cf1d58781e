"""Seconds by learned sizes: exact where they are proportional to work, and of real passes."""

import json
import math

import pytest
import torch
from torch import nn

import dynpool
from dynpool.baselines import DiffStride2d, NJetConv2d
from dynpool.cost import latency as latency_module
from dynpool.cost.latency import LatencyModel, _Measured
from tests.dynpool.cost.simulated_device import ELEMENT, MACS, PASS, simulate

SIZE = (3, 24, 20)


def network() -> nn.Sequential:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def by_hand() -> nn.Sequential:
    model = network()
    model[2], model[4] = dynpool.DynOPool2d(), dynpool.DynOPool2d()
    return model


@pytest.fixture
def device(monkeypatch):
    simulate(monkeypatch)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("make", [lambda: dynpool.convert(network(), SIZE), by_hand], ids=["converted", "by hand"])
def test_where_time_is_proportional_to_work_predictions_are_exact(make):
    model = make()
    latency = LatencyModel(model, SIZE, configurations=6)
    assert latency._whole_paths == set()
    for checked in latency.check(5):
        assert checked.error == pytest.approx(0, abs=1e-6)
        assert len(checked.sizes) == 2
    names = list(dynpool.resolutions(model))
    dynpool.set_sizes(model, {names[0]: (9, 11), names[1]: (5, 4)}, **({} if "convert" in str(make) else hand(model)))
    macs = dynpool.count_macs(model, SIZE).total
    elements = 2 * 8 * 480 + 8 * (480 + 2 * 99) + 8 * (99 + 2 * 20) - 8 * (99 + 20) + 8 * (20 + 1)  # indices or not
    assert latency.value() == pytest.approx(2 * (MACS * macs + ELEMENT * elements) + PASS, rel=0.15)
    assert latency().item() == pytest.approx(latency.value())
    assert sum(latency.by_layer().values()) == pytest.approx(latency.value())


def hand(model):
    return {} if dynpool.resolutions(model)["2"].parent is not None else {"input_size": SIZE}


@pytest.mark.usefixtures("device")
def test_the_gradient_is_that_of_continuous_sizes():
    model = by_hand()
    latency = LatencyModel(model, SIZE, configurations=6)
    (first, second) = (r.alpha for r in dynpool.resolutions(model).values())
    latency().backward()
    gradients = [alpha.grad.tolist() for alpha in (first, second) if alpha.grad is not None]
    assert max(map(max, gradients)) < 0  # a larger stride makes smaller maps
    maps = {"2": 12 * 10, "4": 6 * 5}
    conv, half = 2 * MACS * 8 * 72, 2 * ELEMENT * 8
    expected = -(conv * maps["4"] + half * maps["4"] * 2) / 2  # by the rows of the last convolution and its readers
    assert gradients[1][0] == pytest.approx(expected, rel=0.2)


def test_a_real_pass_is_measured_without_changing_anything():
    torch.manual_seed(0)
    model = dynpool.convert(network(), SIZE, max_gmacs=1.0).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    latency = LatencyModel(model, SIZE, batch=2, configurations=5, repeats=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert latency._whole_paths == set()  # operations have the same names as in the traced pass
    assert 0 < latency.value() < 10
    assert latency().dtype == torch.float32
    assert "2 images of (3, 24, 20) on cpu" in str(latency)
    checked = latency.check(2)
    assert all(0 < one.measured < 10 and 0 < one.predicted < 10 for one in checked)
    assert {*checked[0].sizes} == {*dynpool.resolutions(model)}


def test_a_ceiling_does_not_hold_where_time_is_measured():
    start = dynpool.count_macs(dynpool.convert(network(), SIZE), SIZE).gmacs
    model = dynpool.convert(network(), SIZE, max_gmacs=1.001 * start)
    latency = LatencyModel(model, SIZE, configurations=4, repeats=1)
    first = [checked.sizes["2"] for checked in latency.check(8)]
    assert max(h * w for h, w in first) > 1.2 * 12 * 10
    assert dynpool.sizes(model, SIZE)["2"] == (12, 10)


def test_resizers_of_many_operations_are_measured_as_one():
    model = network()
    model[2] = DiffStride2d()
    latency = LatencyModel(model, SIZE, configurations=4, repeats=1)
    assert latency._whole_paths == {"2"}
    assert latency.by_layer()["2"] > 0


@pytest.mark.usefixtures("device")
def test_measurements_serve_again():
    model = dynpool.convert(network(), SIZE)
    latency = LatencyModel(model, SIZE, configurations=4, repeats=1)
    data = json.loads(json.dumps(latency.to_dict()))
    again = LatencyModel(dynpool.convert(network(), SIZE), SIZE, measurements=data)
    assert again.value() == latency.value()
    dynpool.set_sizes(model, {"2": (7, 9)})
    assert latency.value() != again.value()
    for other in (
        nn.Sequential(*network()[:6]),
        nn.Sequential(*network()[:3], nn.Conv2d(8, 8, 5, padding=2), *network()[4:]),
    ):
        with pytest.raises(ValueError, match="measurements are of another model, input size or batch"):
            LatencyModel(dynpool.convert(other, SIZE), SIZE, measurements=data)
    with pytest.raises(ValueError, match="measurements are of another model, input size or batch"):
        LatencyModel(dynpool.convert(network().double(), SIZE), SIZE, measurements=data)
    with pytest.raises(ValueError, match="measurements are of another model, input size or batch"):
        LatencyModel(model, SIZE, batch=3, measurements=data)
    elsewhere = LatencyModel(model, SIZE, measurements={**data, "device": "cuda:0"})
    assert elsewhere.device == torch.device("cuda:0")
    with pytest.raises(ValueError, match="measurements are of device 'cuda:0', not 'cpu'"):
        LatencyModel(model, SIZE, device="cpu", measurements={**data, "device": "cuda:0"})


def curve(works: list[float], seconds: list[float]) -> dict[str, object]:
    return {"curves": [["0", "aten.convolution", works, seconds]]}


@pytest.mark.parametrize(
    "change",
    [
        {"curves": []}, {"factor": math.nan}, {"factor": -1.0}, {"fixed": math.inf}, {"fixed": "x"}, {"weights": None},
        {"device": "toaster"}, curve([], []), curve([1.0, 2.0], [1.0]), curve([2.0, 1.0], [1.0, 2.0]),
        curve([1.0, 1.0], [1.0, 2.0]), curve([1.0], [math.nan]), curve([1.0], [-1.0]),
    ],
)  # fmt: skip
def test_damaged_measurements_are_refused(change):
    model = dynpool.convert(network(), SIZE)
    data = LatencyModel(model, SIZE, configurations=4, repeats=1).to_dict()
    with pytest.raises(ValueError, match=r"measurements are|device='toaster'"):
        LatencyModel(model, SIZE, measurements={**data, **change})


class Frames(nn.Module):
    """Takes frames of clips, four each, and draws a random number even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.maps(x), 0.5, True).unflatten(0, (-1, 4)).mean(1)


def test_the_batch_is_that_of_the_conversion_or_the_inputs():
    model = dynpool.convert(Frames(), SIZE, batch=4)
    state = torch.get_rng_state()
    latency = LatencyModel(model, SIZE, configurations=4, repeats=1)
    latency.check(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert (latency.batch, "4 images of" in str(latency)) == (4, True)
    wide = LatencyModel(by_hand(), SIZE, inputs=torch.zeros(6, *SIZE), configurations=4, repeats=1)
    assert (wide.batch, wide.to_dict()["batch"]) == (6, 6)
    with pytest.raises(ValueError, match="batch is 2, but inputs are given"):
        LatencyModel(by_hand(), SIZE, inputs=torch.zeros(6, *SIZE), batch=2)


def test_it_can_be_built_under_inference_mode():
    model = by_hand()
    with torch.inference_mode():
        latency = LatencyModel(model, SIZE, configurations=4, repeats=1)
    latency().backward()
    with pytest.raises(ValueError, match=r"alphas has 1 entries; allowed: a \(height, width\) for each of 2"):
        latency.value([(2.0, 2.0)])


class OtherLayers(nn.Module):
    """Pools once more where the map is large."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool, self.last = nn.Conv2d(3, 4, 3, padding=1), dynpool.DynOPool2d(), nn.Conv2d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.first(x))
        out: torch.Tensor = self.last(x if x.shape[-1] < 13 else torch.cat([x, x], -1))
        return out


def kernels() -> nn.Module:
    return nn.Sequential(NJetConv2d(3, 8, 3, padding=1), dynpool.DynOPool2d())


@pytest.mark.parametrize(
    ("make", "options", "error", "said"),
    [
        (network, {}, ValueError, "model is a Sequential, which has no learned resolution"),
        (OtherLayers, {}, ValueError, "model is a OtherLayers, which runs other layers at other sizes"),
        (kernels, {}, ValueError, "model is a Sequential that learns kernels, whose sizes are not measured"),
        (by_hand, {"configurations": 3}, ValueError, "configurations=3: expected an integer of at least 4"),
        (by_hand, {"repeats": 0}, ValueError, "repeats=0: expected an integer of at least 1"),
        (by_hand, {"batch": 1.5}, TypeError, "batch=1.5: expected an integer of at least 1"),
        (by_hand, {"device": "meta"}, ValueError, "device is meta, which takes no time"),
        (by_hand, {"device": "toaster"}, ValueError, "device='toaster': expected a device of this machine"),
        (by_hand, {"seed": 2**63}, ValueError, r"seed=9223372036854775808: expected an integer below 2\*\*63"),
    ],
)
def test_what_cannot_be_measured_is_named(make, options, error, said):
    with pytest.raises(error, match=said):
        LatencyModel(make(), SIZE, **options)


def test_a_model_that_fails_at_most_sizes_says_how_often(monkeypatch):
    model = by_hand()

    def fails(self, owners, start):
        raise ValueError("too small")

    monkeypatch.setattr(LatencyModel, "_drawn", fails)
    with pytest.raises(ValueError, match="the model runs at 1 of 12 sets of sizes: too small"):
        LatencyModel(model, SIZE, configurations=4)


def test_medians_count():
    one = _Measured([(2.0, 2.0)], [3.0, 1.0, 2.0], [{("a", "x"): 1.0}, {("a", "x"): 5.0}, {("a", "x"): 2.0}])
    assert (one.whole(), one.layers()) == (2.0, {("a", "x"): 2.0})
    assert latency_module.LatencyCheck({}, 3.0, 2.0).error == 0.5
