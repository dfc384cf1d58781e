"""The effective field against gradients computed by hand, and its bounds against the theoretical field."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.analysis.model_report.effective import effective_receptive_field

SIZE = (2, 16, 20)


def ones(count: int) -> nn.Sequential:
    """Convolutions of 3x3 whose weights are all one, two input channels."""
    convs = [nn.Conv2d(2 if i == 0 else 1, 1, 3, padding=1, bias=False) for i in range(count)]
    for conv in convs:
        nn.init.ones_(conv.weight)
    return nn.Sequential(*convs)


def test_gradient_of_two_convolutions_counted_by_hand():
    field = effective_receptive_field(ones(2), SIZE, samples=3)
    steps = np.array([1.0, 2.0, 3.0, 2.0, 1.0])  # ways from a pixel to the unit along one axis
    expected = np.zeros(SIZE[1:])
    expected[6:11, 8:13] = np.outer(steps, steps)
    assert (field.layer, field.unit) == ("1", (8, 10))
    np.testing.assert_allclose(field.gradient, expected)
    assert field.region == ((6, 10), (8, 12))
    assert field.max_projected_gradient == (27.0, 27.0)
    np.testing.assert_allclose(field.projection[1][8:13], 9 * steps)
    assert field.size == 5.0, "1/9 of the largest is more than 4.55 %"
    assert "effective receptive field of 1 at 16x20: 5.0 pixels per side (theoretical field: 5x5)" in str(field)


def test_uniform_convolutions_spread_as_a_random_walk():
    """Luo et al., section 2.3: n uniform kernels of 3 give a variance of 2/3 n, so that the size grows as a root."""
    for count in (2, 4, 6):
        line = effective_receptive_field(ones(count), (2, 32, 32), samples=1).projection[0]
        share, at = line / line.sum(), np.arange(32)
        mean = (share * at).sum()
        assert mean == pytest.approx(16)
        assert (share * (at - mean) ** 2).sum() == pytest.approx(2 / 3 * count)


def test_output_is_read_before_an_in_place_operation_changes_it():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1)
    alone = effective_receptive_field(nn.Sequential(conv), SIZE)
    followed = effective_receptive_field(nn.Sequential(conv, nn.ReLU(inplace=True), nn.MaxPool2d(2)), SIZE, layer="0")
    np.testing.assert_array_equal(alone.gradient, followed.gradient)


def test_own_images_are_averaged():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
    images = torch.randn(7, *SIZE)
    whole = effective_receptive_field(model, SIZE, images=images)
    single = [effective_receptive_field(model, SIZE, images=image[None]).gradient for image in images]
    np.testing.assert_allclose(whole.gradient, np.mean(single, axis=0), rtol=1e-5)
    assert whole.samples == 7


@pytest.mark.parametrize("seed", range(4))
def test_no_gradient_outside_of_the_theoretical_field(seed):
    torch.manual_seed(seed)
    stride, dilation = 1 + seed % 2, 1 + seed // 2
    model = nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), padding=2, dilation=dilation),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, stride=stride),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
    )
    for row in receptive_field(model, (3, 40, 44)).layers:
        field = effective_receptive_field(model, (3, 40, 44), layer=row.name, samples=4)
        for line, (first, last) in zip(field.projection, field.region, strict=True):
            seen = np.flatnonzero(line)
            assert first <= seen.min() <= seen.max() <= last
            assert seen.min() - first <= 2, "and there is gradient up to its edges"
            assert last - seen.max() <= 2


def test_a_converted_layer_and_the_resizer_behind_it():
    torch.manual_seed(0)
    model = dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3)), (3, 32, 32))
    conv, resizer = (effective_receptive_field(model, (3, 32, 32), layer=name) for name in ("0", "0.resize"))
    assert np.flatnonzero(conv.projection[0]).tolist() == [15, 16, 17]
    assert len(np.flatnonzero(resizer.projection[0])) == 4


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.Dropout(), nn.Conv2d(3, 1, 3)))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    effective_receptive_field(model, SIZE, layer="0")
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_same_seed_gives_the_same_field():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3))
    first, second, other = (effective_receptive_field(model, SIZE, seed=seed).gradient for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_plain_data_is_strict_json():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    data = effective_receptive_field(model, SIZE).to_dict()
    assert json.loads(json.dumps(data, allow_nan=False))["region"] == [[6, 10], [8, 12]]


class Twice(nn.Module):
    """One convolution run twice, and one in the module's own forward."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        return nn.functional.max_pool2d(self.conv(self.conv(x)), 2)


def test_a_shared_module_and_layers_that_are_not_modules():
    first, second = (effective_receptive_field(Twice(), SIZE, layer=name) for name in ("conv", "conv#2"))
    assert np.flatnonzero(first.projection[0]).tolist() == [7, 8, 9]
    assert np.flatnonzero(second.projection[0]).tolist() == [6, 7, 8, 9, 10]
    with pytest.raises(ValueError, match="layer 'max_pool2d' is not a module that runs as one operation"):
        effective_receptive_field(Twice(), SIZE)
    inside = nn.Sequential(Twice(), nn.Conv2d(2, 2, 1))
    with pytest.raises(ValueError, match="layer '0' is not a module that runs as one operation"):
        effective_receptive_field(inside, SIZE, layer="0")


def test_bad_arguments():
    model = ones(2)
    with pytest.raises(ValueError, match="samples=0: expected an integer of at least 1"):
        effective_receptive_field(model, SIZE, samples=0)
    with pytest.raises(ValueError, match="the model has no layer '3'; known: 0, 1"):
        effective_receptive_field(model, SIZE, layer="3")
    with pytest.raises(ValueError, match=r"images must have the shape \(N, 2, 16, 20\), got \(1, 2, 16, 16\)"):
        effective_receptive_field(model, SIZE, images=torch.zeros(1, 2, 16, 16))
    with pytest.raises(ValueError, match="images must have the shape"):
        effective_receptive_field(model, SIZE, images=torch.zeros(0, *SIZE))
    with pytest.raises(ValueError, match="no layer with a receptive field"):
        effective_receptive_field(nn.Sequential(nn.ReLU()), SIZE)
    with pytest.raises(TypeError, match="model must be an nn"):
        effective_receptive_field(None, SIZE)  # type: ignore[arg-type]


def test_a_layer_without_gradient_has_no_size():
    conv = nn.Conv2d(2, 1, 3, padding=1)
    nn.init.zeros_(conv.weight)
    field = effective_receptive_field(nn.Sequential(conv), SIZE)
    assert field.size == 0.0
    assert math.isclose(sum(field.max_projected_gradient), 0)
