"""CKA of networks: equal to the definition on outputs taken by hooks, on the models as they are."""

import math

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import CKAReport, cka
from tests.analysis.representations.test_hsic import naive
from tests.networks import three_resizers, two_resizers

SIZE = (3, 16, 16)


def images(number=48, seed=0):
    return torch.randn(number, *SIZE, generator=torch.Generator().manual_seed(seed))


def by_hand(model, layers, x, *, pooled):
    """Outputs of layers of a model in eval mode, without the library."""
    found = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: found.update({name: out.clone()}))
        for name in layers
    ]
    with torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    return [(found[n].mean((2, 3)) if pooled and found[n].ndim == 4 else found[n].flatten(1)).double() for n in layers]


@pytest.mark.parametrize("pooled", [True, False])
def test_values_are_the_definition_on_the_outputs_of_the_layers(pooled):
    a, b = three_resizers(), two_resizers()
    x = images()
    report = cka(a, b, [(x[:20], None), (x[20:], None)], pooled=pooled)
    assert (report.layers_a, report.layers_b) == (("0", "3", "7", "10"), ("0", "2", "4", "7"))
    found = (by_hand(m, names, x, pooled=pooled) for m, names in ((a, report.layers_a), (b, report.layers_b)))
    first, second = found
    wanted = [[naive(u, v).item() for v in second] for u in first]
    for row, expected in zip(report.values, wanted, strict=True):
        assert row == pytest.approx(expected, rel=1e-6)
    assert (report.images, report.batches) == (48, 2)


def test_a_model_is_like_itself_also_converted_and_frozen():
    model = three_resizers().eval()
    live = dynpool.convert(model, SIZE, preserve=True)
    frozen = dynpool.freeze(live)
    for other in (live, frozen):
        report = cka(model, other, [images()], layers=["0", "3", "7", "10"])
        assert report.layers_a == ("0", "3", "7", "10")
        assert report.similarity("0") == pytest.approx(1, abs=1e-5)
        assert report.similarity("10") == pytest.approx(1, abs=1e-5)


def test_learned_sizes_take_part():
    live = dynpool.convert(three_resizers(), SIZE)
    small = dynpool.convert(three_resizers(), SIZE)
    dynpool.set_sizes(small, {"2": (3, 3), "3": (3, 2), "6": (2, 2)})
    report = cka(live, small, [images()])
    assert report.similarity("0") == pytest.approx(1)
    assert report.similarity("10") < 0.999


def test_the_models_and_random_states_stay_as_they_were():
    models = [dynpool.convert(three_resizers(), SIZE).train(), nn.Sequential(nn.Dropout(), two_resizers())]
    before = [{n: t.clone() for n, t in m.state_dict().items()} for m in models]
    modes = [[(m.training, dict(m._forward_hooks)) for m in model.modules()] for model in models]
    state = torch.get_rng_state()
    with torch.inference_mode():
        cka(models[0], models[1], iter([images()]), unbiased=True)
    assert torch.equal(state, torch.get_rng_state())
    for model, tensors in zip(models, before, strict=True):
        assert all(torch.equal(tensors[n], t) for n, t in model.state_dict().items())
    assert modes == [[(m.training, dict(m._forward_hooks)) for m in model.modules()] for model in models]


def test_the_border_layer_is_where_the_receptive_field_reaches_the_image():
    wide = nn.Sequential(nn.Conv2d(3, 4, 9, padding=4), nn.MaxPool2d(2), nn.Conv2d(4, 4, 9, padding=4),
                         nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 1))  # fmt: skip
    report = cka(wide, two_resizers(), [images()])
    assert (report.border_layer_a, report.border_a) == (dynpool.analysis.receptive_field(wide, SIZE).border_layer, 2)
    assert report.border_layer_a == "3"
    assert (report.border_layer_b, report.border_b) == (None, None)
    only_first = cka(wide, two_resizers(), [images()], layers=["0"])
    assert (only_first.border_layer_a, only_first.border_a) == ("3", None)


class Unrecorded(nn.Module):
    """A model that leaves PyTorch, which a pass without data cannot."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.layer(torch.from_numpy(x.numpy()))


def test_unknown_fields_are_a_notice():
    report = cka(Unrecorded(), two_resizers(), [images()])
    assert report.border_layer_a is None
    assert any(n.startswith("model_a: no border layer, as its receptive fields are unknown") for n in report.notices)


def test_what_a_reader_should_know_is_a_notice():
    dead = three_resizers()
    with torch.no_grad():
        dead[3].get_parameter("weight").zero_()
    report = cka(dead, two_resizers(), [images(5), images(3)])
    assert any("model_a: '3', '7', '10' give the same for all images" in n for n in report.notices)
    assert math.isnan(report.similarity("3", "2"))
    few = cka(two_resizers(), two_resizers(), [images(5)])
    assert any("5 images are fewer than the 8 features" in n for n in few.notices)
    unbiased = cka(two_resizers(), two_resizers(), [images(5), images(3)], unbiased=True)
    assert unbiased.notices == ("left out: 1 of 2 batches, which have fewer than 4 images",)
    assert (unbiased.images, unbiased.batches) == (5, 1)


def test_progress():
    seen = []
    cka(two_resizers(), two_resizers(), [images(6)] * 3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": [images(1)]}, "batches: expected 2 images or more, got 1 image that can be used"),
        ({"batches": [images(3)], "unbiased": True}, "4 images or more in one batch, as unbiased=True, got 0 images"),
        ({"layers": ["3"]}, "layers: the Sequential has no layer '99'; known: 0, 1"),
        (
            {"most_bytes": 100},
            r"4 x 4 layers take [\d,]+ bytes, more than most_bytes=100: choose unbiased=True \([\d,]+",
        ),
        ({"most_bytes": 100, "unbiased": True}, "choose smaller batches, fewer layers"),
        ({"batches": [images(), images()[..., :12]]}, "inputs of batch 1 are 3x16x12"),
    ],
)
def test_errors(options, message):
    if "layers" in options:
        options = {**options, "layers_b": ["99"]}
        message = message.replace("layers:", "layers_b:")
    with pytest.raises(ValueError, match=message):
        cka(**{"model_a": three_resizers(), "model_b": two_resizers(), "batches": [images()], **options})


def test_activations_that_are_not_finite():
    bad = two_resizers()
    with torch.no_grad():
        bad[2].get_parameter("weight")[0] = torch.inf
    with pytest.raises(ValueError, match="model_b: the output of layer '2' has NaN or infinities in batch 0"):
        cka(two_resizers(), bad, [images()])


def test_the_stated_memory_and_kind():
    report = cka(two_resizers(), two_resizers(), [images()])
    assert isinstance(report, CKAReport)
    assert report.memory == 8 * (28 * 28 + 2 * (3 * 64 + 16))


def test_wrappers_are_looked_through():
    model, data = three_resizers(), [images()]
    assert cka(nn.DataParallel(model), torch.optim.swa_utils.AveragedModel(model), data) == cka(model, model, data)
