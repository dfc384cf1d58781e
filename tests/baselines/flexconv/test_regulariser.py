"""The anti-aliasing regulariser against its formulas, as it is and as published, and what it does to a layer."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import dynpool
from dynpool.baselines.flexconv import FlexConv2d, antialiasing_loss, nyquist

from .test_layer import small


def pairs(*parameters: Tensor) -> Iterator[tuple[list[float], ...]]:
    return zip(*(parameter.tolist() for parameter in parameters), strict=True)


def test_the_regulariser_is_a_sum_over_layers_and_axes() -> None:
    model = nn.Sequential(
        FlexConv2d(1, 2, largest=9, sigma=0.2), nn.ReLU(), FlexConv2d(2, 2, largest=(33, 5), sigma=0.1)
    )
    expected = 0.0
    for layer in (model[0], model[2]):
        assert isinstance(layer, FlexConv2d)
        for axis, points in enumerate(layer.largest):
            bound = math.fsum(
                max((abs(w[axis]) + 2 * abs(g[axis])) / (2 * math.pi) for w, g in pairs(f.weight, f.gamma))
                for f in layer.network.gabors
            )
            bound = bound + 2 / (2 * math.pi * layer.sigma[axis].item())
            expected += max(bound - nyquist(points), 0) ** 2
    assert expected > 0
    torch.testing.assert_close(antialiasing_loss(model, weight=0.3).item(), 0.3 * expected, rtol=1e-6, atol=0)


def test_the_regulariser_drives_frequencies_below_the_limit() -> None:
    torch.manual_seed(0)
    layer = FlexConv2d(1, 4, largest=17, sigma=0.3, hidden=4, filters=2, scale=8.0)
    assert (layer.bandwidth() > 2 * nyquist(17)).all()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        antialiasing_loss(layer).backward()
        optimizer.step()
        dynpool.constrain(layer)
    assert (layer.bandwidth() <= nyquist(17) + 0.01).all()


@pytest.mark.parametrize("mask", [False, True])
def test_the_published_regulariser_bounds_each_filter_by_its_share(mask: bool) -> None:
    """Restated from the authors' code: the largest frequency of any unit and axis, filter by filter."""
    layers = [small(largest=(9, 5), filters=3), small(largest=7, sigma=0.2, filters=2)]
    expected = 0.0
    for layer in layers:
        filters = list(layer.network.gabors)
        limit = (max(layer.largest) - 1) / 4 / len(filters)
        for gabor in filters:
            units = (gabor.weight.abs() / (2 * math.pi) + 2 * gabor.gamma.abs() / (2 * math.pi)).flatten().tolist()
            of_mask = max(2 / (2 * math.pi * sigma) for sigma in layer.sigma.tolist()) / len(filters)
            expected += max(max(units) + of_mask * mask - limit, 0.0) ** 2
    model = nn.Sequential(*layers)
    loss = antialiasing_loss(model, weight=0.3, mask=mask, published=True)
    assert loss.item() == pytest.approx(0.3 * expected, rel=1e-9)
    assert loss.item() > 0
    assert loss.item() != pytest.approx(antialiasing_loss(model, weight=0.3, mask=mask).item(), rel=0.01)
    loss.backward()
    assert all(bool(layer.sigma.grad is not None) == mask for layer in layers)


def test_a_model_without_such_layers_cannot_be_regularised() -> None:
    with pytest.raises(ValueError, match="Linear without FlexConv2d"):
        antialiasing_loss(nn.Linear(1, 1))
