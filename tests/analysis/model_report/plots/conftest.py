"""Reports that the plots of these tests show."""

import functools

import pytest
import timm
import torch
import torchvision
from torch import nn

import dynpool
from dynpool.analysis import receptive_field


@pytest.fixture(scope="module")
def vgg():
    """At 32 pixels features.12 is underutilized and all behind it is unproductive."""
    with torch.device("meta"):
        return receptive_field(torchvision.models.vgg16(), (3, 32, 32))


@pytest.fixture(scope="module")
def learned():
    model = dynpool.convert(torchvision.models.resnet18(), (3, 64, 64))
    with torch.no_grad():
        for index, resolution in enumerate(dynpool.resolutions(model).values()):
            resolution.alpha.copy_(torch.tensor([1.4 + 0.2 * index, 1.9 - 0.1 * index]))
    return receptive_field(model, (3, 64, 64))


@pytest.fixture(scope="module")
def one_axis():
    model = nn.Sequential(nn.Conv1d(1, 4, 7, stride=2), nn.MaxPool1d(3), nn.Conv1d(4, 4, 9, dilation=2))
    return receptive_field(model, (1, 256))


@pytest.fixture(scope="module")
def bottlenecks():
    """With names of wide letters, such as layer1.0.downsample.0."""
    with torch.device("meta"):
        return receptive_field(torchvision.models.resnet50(), (3, 64, 64))


@functools.cache
def _report_of(name):
    with torch.device("meta"):
        model = (
            timm.create_model(name)
            if name.startswith("hrnet")
            else torchvision.models.get_model(
                name, weights=None, **({"init_weights": False} if name == "googlenet" else {})
            )
        )
    return receptive_field(model, (3, 224, 224))


@pytest.fixture
def report_of():
    """report_of(name) -> the report of a network by name at 224 pixels, made once."""
    return _report_of
