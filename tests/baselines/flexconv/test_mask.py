"""The mask and the kernel it leaves, against the mask's values at every point."""

import math
from itertools import product

import pytest
import torch

from dynpool.baselines.flexconv.mask import axis_points, check_sigma, gaussian, live_radius, sigma_for, sigma_range

LARGEST = (3, 5, 9, 29, 33, 97)


def kept(largest: int, mu: float, sigma: float, threshold: float) -> int:
    """The radius of the narrowest kernel around the centre that has every point where the mask is not below T."""
    half = (largest - 1) // 2
    value = {i: math.exp(-(((i / half - mu) / sigma) ** 2) / 2) for i in range(-half, half + 1)}
    return max((abs(i) for i in value if value[i] >= threshold), default=0)


@pytest.mark.parametrize("largest", LARGEST)
def test_the_live_kernel_has_every_point_above_the_threshold(largest: int) -> None:
    for mu, sigma, threshold in product((0.0, 0.11, -0.43), (0.04, 0.075, 0.333, 2.0), (0.1, 0.01)):
        assert live_radius(largest, mu, sigma, threshold) >= kept(largest, mu, sigma, threshold)


@pytest.mark.parametrize("largest", LARGEST)
def test_a_centred_live_kernel_has_no_other_points(largest: int) -> None:
    for sigma, threshold in product((0.04, 0.075, 0.333, 2.0), (0.1, 0.01)):
        assert live_radius(largest, 0.0, sigma, threshold) == kept(largest, 0.0, sigma, threshold)


@pytest.mark.parametrize("largest", LARGEST)
def test_the_side_away_from_the_centre_of_the_mask_counts_for_both(largest: int) -> None:
    radius = live_radius(largest, -0.3, 0.1)
    assert (
        radius
        == live_radius(largest, 0.3, 0.1)
        == math.floor((0.3 + 0.1 * math.sqrt(2 * math.log(10))) * (largest // 2))
    )


@pytest.mark.parametrize(("largest", "size"), [(33, 5), (29, 5), (97, 15)])
def test_published_kernels_at_initialisation(largest: int, size: int) -> None:
    assert 2 * live_radius(largest, 0.0, 0.075) + 1 == size


@pytest.mark.parametrize("largest", LARGEST)
def test_the_lowest_sigma_leaves_three_points(largest: int) -> None:
    low, high = sigma_range(largest)
    assert live_radius(largest, 0.0, low) == 1
    assert live_radius(largest, 0.0, 0.99 * low) == 0
    assert live_radius(largest, 0.0, high) == largest // 2
    float32 = torch.tensor(low).item()  # what a parameter holds
    assert live_radius(largest, 0.0, float32) == 1


@pytest.mark.parametrize("largest", LARGEST)
def test_a_sigma_for_every_size(largest: int) -> None:
    for size in range(3, largest + 1, 2):
        assert 2 * live_radius(largest, 0.0, sigma_for(largest, size)) + 1 == size


def test_points_are_the_middle_of_a_grid_from_minus_one_to_one() -> None:
    whole = torch.linspace(-1, 1, 33, dtype=torch.float64)
    torch.testing.assert_close(axis_points(33, 16, dtype=torch.float64), whole)
    torch.testing.assert_close(axis_points(33, 3, dtype=torch.float64), whole[13:20])


def test_the_mask_is_a_gaussian_of_height_one() -> None:
    points = torch.tensor([-0.2, 0.1, 0.4])
    expected = [math.exp(-((x - 0.1) ** 2) / (2 * 0.3**2)) for x in points.tolist()]
    torch.testing.assert_close(gaussian(points, torch.tensor(0.1), torch.tensor(0.3)), torch.tensor(expected))


def test_sigma_within_its_range() -> None:
    assert check_sigma(0.5, (33, 33)) == (0.5, 0.5)
    assert check_sigma((0.5, 0.25), (33, 33)) == (0.5, 0.25)
    assert check_sigma((1e-6, 1e6), (33, 9)) == (sigma_range(33)[0], sigma_range(9)[1])


@pytest.mark.parametrize("sigma", [0, 0.0, math.inf, math.nan, -0.1, (0.1, 0.0), (math.inf, 0.1)])
def test_a_sigma_of_zero_or_infinity_is_an_error(sigma: object) -> None:
    with pytest.raises(ValueError, match=r"sigma=.*finite positive"):
        check_sigma(sigma, (33, 33))


@pytest.mark.parametrize("sigma", ["wide", None, True, (0.1,), (0.1, 0.1, 0.1), ("a", 0.1), (True, 0.1)])
def test_a_sigma_that_is_no_number_is_an_error(sigma: object) -> None:
    with pytest.raises(TypeError, match="sigma="):
        check_sigma(sigma, (33, 33))
