"""A converted network."""

import pytest
from torch import nn

import dynpool
from tests.networks import three_resizers


@pytest.fixture
def model() -> nn.Module:
    return dynpool.convert(three_resizers(), (3, 32, 32))
