"""One pass over the data: what is collected, and what is left as it was."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis.representations import activations
from dynpool.analysis.representations.activations import FEWEST
from tests.analysis.representations.small import SIZE, batches, network

collect: Any = activations.collect  # what is kept is there where it was asked for


class Twice(nn.Module):
    """Runs one layer twice and another one never."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.unused = nn.Conv2d(1, 1, 3)
        self.head = nn.Linear(144, 3)

    def forward(self, x):
        return self.head(self.conv(self.conv(x)).flatten(1))


def test_activations_are_those_of_the_model():
    model, data = network().eval(), batches()
    found = collect(model, data, maps=["7"])
    assert list(found.layers) == ["0", "4", "7", "9", "12"]
    images, labels = map(torch.cat, zip(*data, strict=True))
    assert found.labels.tolist() == labels.tolist()
    assert (found.images, found.size, found.notices) == (96, SIZE, ())
    with torch.no_grad():
        direct = model[:8](images)
        assert found.accuracy == float((model(images).argmax(1) == labels).double().mean())
    assert found.layers["7"].kind == "Conv2d"
    np.testing.assert_allclose(found.layers["7"].maps, direct, rtol=1e-4, atol=1e-5)
    samples = direct.movedim(1, 3).reshape(-1, 6).double().numpy()
    np.testing.assert_allclose(found.layers["7"].moments.covariance, np.cov(samples.T, bias=True), rtol=1e-4)


def test_any_layer_can_be_named():
    found = collect(network(), batches(), ["6", "1"])
    assert [(x.kind, x.channels, x.size) for x in found.layers.values()] == [
        ("BatchNorm2d", 4, (12, 12)),
        ("MaxPool2d", 5, (3, 3)),
    ]


def test_a_layer_that_runs_twice_has_two_entries_and_one_that_does_not_run_none():
    found = collect(Twice(), batches())
    assert list(found.layers) == ["conv", "conv#2", "head"]
    assert [x.base for x in found.layers.values()] == ["conv", "conv", "head"]
    with pytest.raises(ValueError, match="layers: 'unused' does not run"):
        collect(Twice(), batches(), ["unused"])


def test_converted_and_frozen_models():
    learned = dynpool.convert(network(), SIZE)
    dynpool.set_sizes(learned, {"3": (7, 5), "6": (4, 3)})
    live, frozen = collect(learned, batches()), collect(dynpool.freeze(learned), batches())
    assert [x.size for x in live.layers.values()] == [(12, 12), (7, 5), (4, 3), (4, 3), ()]
    for name, layer in live.layers.items():
        np.testing.assert_allclose(layer.features, frozen.layers[name].features, rtol=1e-4, atol=1e-5)


def draw(*_):
    """A hook that draws from every generator."""
    torch.rand(1)
    random.random()
    np.random.rand()


def numpy_state():
    state: Any = np.random.get_state()
    return state[1].tolist()


def test_the_model_and_random_states_stay_as_they_were():
    model = network().train()
    model.insert(12, nn.Dropout())
    model[0].register_forward_hook(draw)
    before, hooks = copy.deepcopy(model.state_dict()), len(model[4]._forward_hooks)
    torch_state, states = torch.get_rng_state(), (random.getstate(), numpy_state())
    collect(model, batches())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert states == (random.getstate(), numpy_state())
    assert all(module.training for module in model.modules())
    assert len(model[4]._forward_hooks) == hooks
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_model_stays_as_it_was_after_an_error():
    model = network().train()

    def failing():
        yield batches()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(model, failing())
    assert model.training
    assert not model[0]._forward_hooks


def test_where_memory_ends_a_sample_of_the_same_images_is_kept():
    data, said = batches(400, 50), list[str]()
    whole = collect(network(), data, ["0", "12"])
    per_image = 4 * (4 * 16 + 3)
    fixed = 8 * (4 * 6 + 3 * 5)
    less = collect(network(), data, ["0", "12"], memory=fixed + 100 * per_image + 1, tell=said.append)
    assert (whole.labels.shape, less.labels.shape) == ((400,), (100,))
    assert f"{fixed} bytes, {per_image} bytes for each of at most 100 images" in said[0]
    assert said[1:] == list(less.notices)
    assert less.notices[0].startswith("100 of 400 images, drawn evenly, are kept")
    rows = {row.tobytes(): i for i, row in enumerate(whole.layers["0"].features)}
    which = [rows[row.tobytes()] for row in less.layers["0"].features]
    assert len(set(which)) == 100
    assert max(which) > 300  # also of the last ones
    np.testing.assert_array_equal(less.layers["12"].features, whole.layers["12"].features[which])
    np.testing.assert_array_equal(less.labels, whole.labels[which])
    assert less.layers["0"].moments.samples == 400 * 144
    assert less.accuracy == whole.accuracy


def test_every_image_is_equally_likely_to_be_kept():
    counts, most = np.zeros(200), FEWEST
    data = [(torch.arange(200.0).view(200, 1, 1, 1), torch.zeros(200, dtype=torch.int64))]
    model: Any = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False))
    model[1].weight.data.fill_(1.0)
    for seed in range(150):
        found = collect(model, data, moments=False, memory=4 * most, seed=seed)
        counts[found.layers["1"].features[:, 0].astype(int)] += 1
    expected = 150 * most / 200
    assert abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - most / 200))
    assert counts[:most].mean() == pytest.approx(expected, rel=0.05)


def test_the_same_data_give_the_same_result():
    one, two = (collect(network(), batches(400, 50), memory=200_000) for _ in range(2))
    assert len(one.labels) < 400
    for name, layer in one.layers.items():
        np.testing.assert_array_equal(layer.features, two.layers[name].features)
        assert torch.equal(layer.moments.covariance, two.layers[name].moments.covariance)


def test_too_little_memory_is_refused_with_the_number_of_bytes():
    need = 8 * (4 * 6 + 3 * 5) + FEWEST * 4 * (4 * 16 + 3)
    with pytest.raises(ValueError, match=f"memory={need - 1} bytes: 2 layers need .* {need} in all; .* '0'"):
        collect(network(), batches(), ["0", "12"], memory=need - 1)
    assert len(collect(network(), batches(), ["0", "12"], memory=need).labels) == FEWEST


def test_large_maps_are_averaged_with_a_notice():
    found = collect(network(), batches(), maps=["0"], most_positions=5)
    assert found.layers["0"].maps.shape == (96, 4, 5, 5)
    assert found.notices == ("maps of 0 are averaged from 12x12 to 5x5 positions",)


def test_progress():
    seen: list[Any] = []
    collect(network(), batches(), progress=lambda *at: seen.append(at))
    assert seen == [(i, 5) for i in range(6)]
    seen.clear()
    collect(network(), iter(batches()), progress=lambda *at: seen.append(at))
    assert seen == [(i, None) for i in range(6)]


def test_an_output_that_is_no_table_of_classes_has_no_accuracy():
    assert collect(network()[:10], batches()).accuracy is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": ["12", "13"]}, "layers: the Sequential has no layer '13'; did you mean '3'"),
        ({"layers": []}, "layers is empty"),
        ({"maps": ["3"]}, "maps: '3' is not among the layers"),
        ({"maps": ["12"]}, "maps: layer '12' gives shape .* no map"),
        ({"batches": []}, "batches is empty"),
        ({"batches": [*batches(), (torch.zeros(2, 1, 9, 9), torch.zeros(2).long())]}, "batch 5 are 1x9x9, not 1x12x12"),
        ({"batches": [(torch.zeros(2, 3, 12, 12), torch.zeros(2).long())]}, "cannot run on images of 3x12x12"),
        ({"batches": [(torch.zeros(2, *SIZE), torch.tensor([0, 3]))]}, "label 3 in batch 0, but the model has 3 out"),
        ({"batches": [(torch.zeros(2, *SIZE), torch.tensor([0, -1]))]}, "labels must be whole numbers from 0"),
        ({"batches": [(torch.zeros(2, *SIZE), torch.zeros(2))]}, "labels must be whole numbers from 0"),
        ({"batches": [(torch.zeros(2, *SIZE), torch.zeros(3).long())]}, "one for each of 2 images, got 3"),
        ({"batches": [(torch.full((2, *SIZE), torch.nan), torch.zeros(2).long())]}, "layer '0' gives NaN or infinite"),
        ({"input_size": (1, 16, 16)}, "images are 1x12x12, not input_size=1x16x16"),
        ({"grid": 0}, "grid=0"),
        ({"seed": -1}, "seed=-1"),
        ({"model": nn.ReLU()}, "layers: the ReLU has no convolution or linear layer"),
    ],
)
def test_bad_values(changes, said):
    with pytest.raises(ValueError, match=said):
        collect(**{"model": network(), "batches": batches()} | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": "12"}, "layers must be a list of names"),
        ({"layers": [12]}, "layers must be a list of names"),
        ({"batches": torch.zeros(3)}, "batches must be an iterable"),
        ({"batches": [3]}, "pairs"),
        ({"batches": [(torch.zeros(1, 12, 12), torch.zeros(1).long())]}, "inputs that are tensors"),
        ({"batches": [(torch.zeros(1, *SIZE), [0])]}, "labels that are tensors"),
        ({"features": 1}, "features=1"),
        ({"model": 3}, "model must be"),
    ],
)
def test_wrong_types(changes, said):
    with pytest.raises(TypeError, match=said):
        collect(**{"model": network(), "batches": batches()} | changes)


def test_no_memory_left_on_the_device():
    model = network()

    def full(*_):
        raise torch.OutOfMemoryError

    model[5].register_forward_hook(full)
    with pytest.raises(MemoryError, match="no memory left on cpu for 1 images: give smaller batches"):
        collect(model, batches())
