"""NJetConv2d: a convolution with live kernels, of the right shape, variance and gradients; errors for bad arguments."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dynpool
from dynpool.baselines import NJetConv2d
from dynpool.baselines.njet import njet_kernel


@pytest.mark.parametrize(
    "shape",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 7, "stride": 2, "padding": 3},
        {"kernel_size": 3, "padding": 0},
        {"kernel_size": (5, 3), "padding": (1, 0), "stride": (2, 1)},
        {"kernel_size": 11, "padding": 0},  # more than the live kernel: pixels are cut off
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": "valid"},
        {"kernel_size": 3, "padding": 1, "groups": 2},
    ],
)
@pytest.mark.parametrize("sigma", [0.25, 1.0, 2.2])
def test_maps_have_the_sizes_of_a_plain_convolution_and_the_values_of_the_live_kernel(shape, sigma):
    plain = nn.Conv2d(4, 6, **shape)
    layer = NJetConv2d(4, 6, **shape, sigma=sigma).double()
    x = torch.randn(2, 4, 17, 14, dtype=torch.float64)
    y = layer(x)
    assert y.shape == plain(x.float()).shape
    kernel = njet_kernel(layer.coefficients, layer.sigma, order=3)
    centre = (torch.tensor(kernel.shape[2:]) // 2).tolist()
    around = [m + c for m, c in zip(layer.margin, centre, strict=True)]
    padded = F.pad(x, (around[1], around[1], around[0], around[0]))
    expected = F.conv2d(padded, kernel, layer.bias, layer.stride, groups=layer.groups)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


def test_gradients_to_the_map_the_coefficients_the_scale_and_the_bias():
    layer = NJetConv2d(2, 2, 3, stride=2, padding=1, order=2, sigma=0.7, sigmas=2).double()
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    parameters = dict(layer.named_parameters())

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))

    torch.autograd.gradcheck(run, (x, *parameters.values()))


@pytest.mark.parametrize(
    ("order", "sigma", "groups", "gain"), [(0, 1.0, 1, 1.0), (3, 0.5, 1, 1.0), (3, 2.0, 2, 2**0.5)]
)
def test_initial_coefficients_multiply_the_variance_of_white_maps_by_the_squared_gain(order, sigma, groups, gain):
    torch.manual_seed(0)
    layer = NJetConv2d(32, 256, 3, padding=1, groups=groups, order=order, sigma=sigma, gain=gain, sigmas=2)
    reach = layer.extent[0] // 2
    y = layer(torch.randn(8, 32, 40, 40))[..., reach:-reach, reach:-reach]
    assert y.var().item() == pytest.approx(gain**2, rel=0.05)


def test_published_coefficients_are_standard_normal():
    layer = NJetConv2d(64, 64, published=True)
    assert layer.coefficients.mean().item() == pytest.approx(0, abs=0.02)
    assert layer.coefficients.std().item() == pytest.approx(1, abs=0.02)


def test_the_kernel_follows_the_scale_however_it_is_written():
    layer = NJetConv2d(1, 1, padding=1)
    assert layer.extent == (7, 7)
    with torch.no_grad():
        layer.scale.fill_(1.0)
    assert (layer.extent, layer.weight.shape[2:]) == ((11, 11), (11, 11))
    layer.load_state_dict(NJetConv2d(1, 1, padding=1, sigma=0.5).state_dict())
    assert layer.extent == (5, 5)
    layer.scale = nn.Parameter(torch.tensor([2.0]))
    assert layer.extent == (19, 19)
    assert copy.deepcopy(layer).extent == pickle.loads(pickle.dumps(layer)).extent == (19, 19)


def test_a_step_beyond_the_bounds_or_to_nan_is_brought_back():
    layer = NJetConv2d(1, 1, bounds=(0.5, 2.0), sigmas=1)
    for value, expected in ((5.0, 1.0), (-9.0, -1.0), (math.nan, -1.0), (math.inf, -1.0)):
        with torch.no_grad():
            layer.scale.fill_(value)
        assert layer.extent[0] <= 11  # even before that
        dynpool.constrain(layer)
        assert layer.scale.item() == expected


def test_groups_of_output_channels_have_scales_of_their_own_each_truncated_by_itself():
    layer = NJetConv2d(1, 4, sigmas=2, order=0)
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([-1.0, 1.0]))
        layer.coefficients.fill_(1.0)
    weight = layer.weight
    assert weight.shape[2:] == (11, 11)
    small, large = weight[0, 0], weight[3, 0]
    assert torch.count_nonzero(small) == 25
    assert torch.count_nonzero(large) == 121
    torch.testing.assert_close(weight.sum((1, 2, 3)), torch.ones(4))


@pytest.mark.parametrize("shape", [{"padding": 1}, {"padding": 0, "kernel_size": 9}, {"stride": 2, "padding": 1}])
def test_frozen_it_is_an_nn_conv2d_with_the_same_outputs(shape):
    layer = NJetConv2d(3, 4, **{"kernel_size": 3, **shape}, sigma=0.6).double()
    x = torch.randn(2, 3, 20, 20, dtype=torch.float64)
    plain = layer.frozen()
    assert type(plain) is nn.Conv2d
    torch.testing.assert_close(plain(x), layer(x), rtol=0, atol=1e-14)
    assert [type(module) for module in dynpool.freeze(nn.Sequential(layer)).children()] == [nn.Conv2d]


@pytest.mark.parametrize("published", [False, True])
def test_subsampling_is_tied_to_sigma_and_kept_by_freezing(published):
    layer = NJetConv2d(1, 2, 3, padding=1, sigma=1.0, subsample=2.0, published=published).double()
    x = torch.randn(1, 1, 24, 24, dtype=torch.float64)
    assert layer(x).shape[2:] == (24, 24)
    with torch.no_grad():
        layer.scale.fill_(math.log2(3.0))
    side = 24 / (2**3 / 2) if published else 24 / (3 / 2)
    assert layer(x).shape[2:] == (side, side)
    assert torch.equal(layer.frozen()(x), layer(x))
    net = nn.Sequential(layer, nn.Conv2d(2, 2, 1).double())
    assert dynpool.count_macs(net, (1, 24, 24)).by_layer["1"] == side * side * 4


def test_half_precision_keeps_the_scale_in_float32():
    layer = NJetConv2d(2, 2, 3, padding=1).to(torch.bfloat16)
    assert (layer.coefficients.dtype, layer.scale.dtype) == (torch.bfloat16, torch.float32)
    assert layer(torch.randn(1, 2, 8, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0.0}, "sigma=0.0: expected a finite positive number"),
        ({"sigma": math.inf}, "sigma=inf: expected a finite positive number"),
        ({"sigma": 20.0}, r"sigma=20.0: expected a number within bounds=\(0.25, 16.0\)"),
        ({"order": -1}, "order=-1: expected an integer of at least 0"),
        ({"sigmas": 3}, "sigmas=3: expected a divisor of out_channels=4"),
        ({"truncate": 0.0}, "truncate=0.0: expected a finite positive number"),
        ({"gain": 0.0}, "gain=0.0: expected a finite positive number"),
        ({"bounds": (2.0, 1.0)}, r"bounds=\(2.0, 1.0\): expected two finite numbers with 0 < lowest <= highest"),
        ({"subsample": 0.0}, "subsample=0.0: expected a finite positive number, or None"),
        ({"dilation": 2}, "dilation=2: expected 1"),
        ({"groups": 3}, "groups=3: expected a divisor"),
        ({"kernel_size": 4}, "kernel_size=4: expected odd numbers"),
        ({"padding_mode": "reflect"}, "padding_mode='reflect': expected 'zeros'"),
        ({"padding": "some"}, "padding='some': expected integers"),
        ({"padding": "same", "stride": 2}, "padding='same': expected integers"),
        ({"stride": 0}, "stride=0: expected one or two"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        NJetConv2d(4, 4, **change)


@pytest.mark.parametrize("change", [{"sigma": "1"}, {"learn": 1}, {"bounds": 3}, {"kernel_size": 3.0}, {"order": 1.5}])
def test_arguments_of_a_wrong_type_are_named(change):
    with pytest.raises(TypeError, match=next(iter(change))):
        NJetConv2d(4, 4, **change)


def test_it_is_printed_with_its_live_kernel():
    assert repr(NJetConv2d(3, 8, bias=False)) == (
        "NJetConv2d(3, 8, kernel 7x7, stride=(1, 1), bias=False, order=3, sigma=1, truncate=2)"
    )
