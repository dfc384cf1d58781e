"""The bound on the frequencies of a kernel, against spectra of densely sampled kernels."""

import math

import pytest
import torch

from dynpool.baselines.flexconv import MAGNet, kernel_bandwidth, magnet_bandwidth, nyquist
from dynpool.baselines.flexconv.antialiasing import excess


def energy_above(frequency: float, values: torch.Tensor, width: float) -> float:
    """The part of the energy of samples over ``width`` units at more than ``frequency`` cycles per unit, last axis."""
    power = torch.fft.rfft(values).abs().square().sum(tuple(range(values.dim() - 1)))
    frequencies = torch.fft.rfftfreq(values.shape[-1], width / values.shape[-1])
    return (power[frequencies > frequency].sum() / power.sum()).item()


def sampled(
    network: MAGNet, axis: int, sigma: float = math.inf, width: float = 8.0, points: int = 4096
) -> torch.Tensor:
    """The masked network along one axis, with the other coordinate 0.1: (out, points)."""
    line = (torch.arange(points, dtype=torch.float64) / points - 0.5) * width
    at = torch.full((points, 2), 0.1, dtype=torch.float64)
    at[:, axis] = line
    return network(at).T * torch.exp(-0.5 * (line / sigma).square())


def narrow(filters: int, seed: int) -> MAGNet:
    """A network of one channel, whose bound is not loose, with windows that end within the samples."""
    torch.manual_seed(seed)
    network = MAGNet(1, hidden=1, filters=filters, spread=0.2).double()
    for gabor in network.gabors:
        gabor.gamma.data.uniform_(2, 5)
        gabor.weight.data.uniform_(10, 40)
    return network


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("filters", [1, 2, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_there_is_little_above_the_bound_and_much_below_it(axis: int, filters: int, seed: int) -> None:
    network = narrow(filters, seed)
    bound = magnet_bandwidth(network)[axis].item()
    values = sampled(network, axis)
    assert energy_above(bound, values, 8.0) < 0.005
    assert energy_above(bound / 3, values, 8.0) > 0.02


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_mask_widens_the_spectrum_as_the_bound_says(seed: int) -> None:
    network, sigma = narrow(1, seed), 0.05
    free = magnet_bandwidth(network)
    bound = kernel_bandwidth(network, torch.tensor([sigma, sigma]))
    torch.testing.assert_close(bound - free, torch.full((2,), 2 / (2 * math.pi * sigma), dtype=torch.float64))
    values = sampled(network, 1, sigma)
    assert energy_above(bound[1].item(), values, 8.0) < 0.005
    assert energy_above(free[1].item(), values, 8.0) > 10 * energy_above(bound[1].item(), values, 8.0)


def test_random_networks_stay_below_their_bound() -> None:
    torch.manual_seed(0)
    network = MAGNet(20, scale=5.0, spread=0.2).double()
    bound = kernel_bandwidth(network, torch.tensor([0.2, 0.2], dtype=torch.float64))
    for axis in (0, 1):
        assert energy_above(bound[axis].item(), sampled(network, axis, 0.2), 8.0) < 1e-6


def test_the_bound_is_a_sum_over_filters_of_the_largest_channel() -> None:
    torch.manual_seed(0)
    network = MAGNet(2, hidden=6, filters=3).double()
    expected = [0.0, 0.0]
    for gabor in network.gabors:
        for axis in (0, 1):
            expected[axis] += max(
                (abs(w[axis]) + 1.5 * abs(g[axis])) / (2 * math.pi)
                for w, g in zip(gabor.weight.tolist(), gabor.gamma.tolist(), strict=True)
            )
    torch.testing.assert_close(magnet_bandwidth(network, sigma_cut=1.5), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("points", [3, 9, 33])
def test_the_limit_is_half_the_sampling_rate(points: int) -> None:
    spacing = 2 / (points - 1)
    assert nyquist(points) == pytest.approx(0.5 / spacing)


def test_only_what_exceeds_the_limit_costs() -> None:
    bandwidth = torch.tensor([9.5, 3.0], dtype=torch.float64, requires_grad=True)
    loss = excess(bandwidth, (33, 17))  # limits 8 and 4
    assert loss.item() == pytest.approx(1.5**2)
    loss.backward()
    assert bandwidth.grad is not None
    assert bandwidth.grad.tolist() == [3.0, 0.0]
