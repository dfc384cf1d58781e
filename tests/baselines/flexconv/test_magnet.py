"""MAGNet against its formulas, written out point by point in float64, and its initial values."""

import math

import pytest
import torch

from dynpool.baselines.flexconv import MAGNet


def slow_magnet(network: MAGNet, y: float, x: float) -> list[float]:
    """The values at one point, from Eq. 2 to 5 of the paper with Python's floats."""
    hidden: list[float] = []
    mixers = [None, *network.mixers]
    for gabor, mixer in zip(network.gabors, mixers, strict=True):
        values = []
        for c in range(gabor.phase.numel()):
            (gy, gx), (my, mx), (wy, wx) = (p[c].tolist() for p in (gabor.gamma, gabor.mu, gabor.weight))
            window = math.exp(-((gy * (y - my)) ** 2 + (gx * (x - mx)) ** 2) / 2)
            values.append(window * math.sin(wy * y + wx * x + gabor.phase[c].item()))
        if mixer is not None:
            rows, biases = mixer.weight.tolist(), mixer.bias.tolist()
            mixed = [
                sum(a * h for a, h in zip(row, hidden, strict=True)) + b for row, b in zip(rows, biases, strict=True)
            ]
            values = [m * g for m, g in zip(mixed, values, strict=True)]
        hidden = values
    rows, biases = network.output.weight.tolist(), network.output.bias.tolist()
    return [sum(a * h for a, h in zip(row, hidden, strict=True)) + b for row, b in zip(rows, biases, strict=True)]


@pytest.mark.parametrize("filters", [1, 2, 4])
def test_values_are_those_of_the_formulas(filters: int) -> None:
    torch.manual_seed(filters)
    network = MAGNet(3, hidden=5, filters=filters, scale=7.0).double()
    for mixer in (*network.mixers, network.output):
        torch.nn.init.normal_(mixer.bias)  # 0 at the start
    points = torch.rand(6, 2, dtype=torch.float64) * 2 - 1
    expected = [slow_magnet(network, *point) for point in points.tolist()]
    torch.testing.assert_close(network(points), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    network = MAGNet(2, hidden=3, filters=3, scale=4.0).double()
    points = torch.rand(4, 2, dtype=torch.float64) * 2 - 1
    names = [name for name, _ in network.named_parameters()]

    def values(*parameters: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), points)
        return out

    assert torch.autograd.gradcheck(values, tuple(network.parameters()))


def test_filters_start_narrower_in_frequency_with_depth() -> None:
    torch.manual_seed(0)
    network = MAGNet(1, hidden=4000, filters=4, spread=0.25)
    for number, gabor in enumerate(network.gabors, 1):
        gamma = gabor.gamma
        torch.testing.assert_close(gamma.mean().item(), 6 / number, rtol=0.05, atol=0)  # shape / rate
        torch.testing.assert_close(gamma.var().item(), 6 / number, rtol=0.15, atol=0)
        assert (gabor.mu.abs() <= 0.25).all()
        assert (gabor.phase.abs() <= math.pi).all()
        assert (gabor.weight.abs() <= gamma * 25.6 / 2 / math.sqrt(2)).all()  # scale / sqrt(4) * gamma * 1 / sqrt(2)


def test_the_number_of_parameters_does_not_depend_on_the_points() -> None:
    # a filter: gamma, mu and w of 2 x hidden, a phase of hidden; mixers hidden^2 + hidden; output hidden * out + out
    network = MAGNet(24 * 48, hidden=32, filters=4)
    assert sum(p.numel() for p in network.parameters()) == 4 * 7 * 32 + 3 * (32**2 + 32) + 33 * 24 * 48
