"""Fields by the names of activations."""

import math

import pytest
import torchvision
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.analysis.representations.fields_of_layers import layer_fields
from dynpool.baselines import DiffStride2d
from tests.analysis.representations.small import SIZE, network
from tests.networks import two_resizers


def test_they_are_those_of_the_field_report():
    found, report = layer_fields(network(), SIZE), receptive_field(network(), SIZE)
    assert list(found) == [row.name for row in report.layers]
    for row in report.layers:
        fields = found[row.name]
        assert (fields.r_min_in, fields.r_min, fields.r_max_local) == (row.r_min_in, row.r_min, row.r_max_local)
        assert fields.r_max_in == row.r_min_in  # there is one path only
        assert fields.unproductive == (row.name in report.unproductive)
    assert [name for name, fields in found.items() if fields.unproductive] == ["9"]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_the_longest_path_into_a_layer_is_its_own_less_its_window(name):
    model = getattr(torchvision.models, name)()
    found, report = layer_fields(model, (3, 64, 64)), receptive_field(model, (3, 64, 64))
    longer = 0
    for row in report.layers:
        stride = [s / own for s, own in zip(row.effective_stride, row.stride, strict=True)]
        window = [r - (k - 1) * s for r, k, s in zip(row.r_max_local, row.kernel, stride, strict=True)]
        assert found[row.name].r_max_in == tuple(window)
        longer += tuple(window) > row.r_min_in
    assert longer > 3


def test_the_output_of_a_converted_layer_is_that_behind_its_resize():
    learned = dynpool.convert(two_resizers(), (3, 32, 32))
    found = layer_fields(learned, (3, 32, 32))
    assert found["2"].r_min == found["2.resize"].r_min == (10, 10)
    assert found["2"].r_min_in == found["1"].r_min


def test_layers_behind_a_global_operation_see_everything():
    spectral = dynpool.convert(two_resizers(), (3, 32, 32), pool=DiffStride2d)
    found = layer_fields(spectral, (3, 32, 32))
    for name in receptive_field(spectral, (3, 32, 32)).behind_global:
        fields = found[name]
        assert (fields.r_min_in, fields.r_max_in, fields.unproductive) == (None, None, None)
        assert fields.r_min == fields.r_max_local == (math.inf, math.inf)
    assert [name for name, fields in found.items() if fields.r_min_in is None] == ["2", "4"]


def test_layers_over_a_single_position_have_no_field():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1))
    assert list(layer_fields(model, (3, 8, 8))) == ["0"]
