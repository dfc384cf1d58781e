"""A small network with learned sizes, a batch of images, and a reader of I_min logs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dynpool

SIZE = (3, 16, 12)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        dynpool.DynOPool2d(2.0),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


@pytest.fixture
def network() -> nn.Sequential:
    """Its I_min is 3 + 1 + 2 * 2 = 8 at first."""
    return _network()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, *SIZE, generator=generator), torch.arange(8) % 2


@pytest.fixture
def read_log() -> Callable[[Path], list[dict[str, Any]]]:
    """The records of an I_min log."""
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]
