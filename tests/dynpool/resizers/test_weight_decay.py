"""Weight decay on alphas is said once an optimiser, and only there."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

import dynpool

SIZE = (3, 16, 16)


def learned() -> nn.Module:
    return dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)), SIZE)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """What is warned of in two steps."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            model(torch.randn(2, *SIZE)).square().sum().backward()
            optimizer.step()
            dynpool.constrain(model)
    return [str(w.message) for w in said]


def by_hand() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), dynpool.DynOPool2d(2.0))


@pytest.mark.parametrize("make", [learned, by_hand])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("copied", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_decayed_alphas_are_said_once(
    make: Callable[[], nn.Module], kind: type, copied: Callable[[nn.Module], nn.Module]
) -> None:
    model = copied(make())
    said = step(model, kind(model.parameters(), lr=1e-3, weight_decay=0.1))
    assert len(said) == 1
    assert f"{kind.__name__} applies weight decay to 1 parameters" in said[0]


def test_others_are_left_in_peace() -> None:
    model = learned()
    assert not step(model, torch.optim.AdamW(dynpool.parameter_groups(model, weight_decay=0.1)))
    assert not step(model, torch.optim.SGD(model.parameters(), lr=1e-3))
    weights = [p for name, p in model.named_parameters() if "alpha" not in name]
    assert not step(model, torch.optim.AdamW(weights, weight_decay=0.1))
