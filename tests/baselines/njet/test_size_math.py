"""Radius, largest sigma and subsampling of an N-Jet."""

import math

import pytest

from dynpool.baselines.njet.size_math import derivative_orders, radius_of, scale_for, sigma_within, subsampling


@pytest.mark.parametrize("truncate", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("sigma", [0.25, 0.7, 1.0, 1.3, 4.2])
def test_the_radius_is_the_first_whole_pixel_beyond_the_truncation_and_half_a_pixel(sigma, truncate):
    radius = radius_of(sigma, truncate)
    assert radius - 1 < truncate * sigma + 0.5 <= radius


@pytest.mark.parametrize("side", range(5, 40))
def test_the_largest_sigma_within_a_side_fills_it_and_a_little_more_exceeds_it(side):
    sigma = sigma_within(side)
    assert 2 * radius_of(sigma) + 1 == side - 1 + side % 2
    assert 2 * radius_of(sigma + 1e-6) + 1 > side


@pytest.mark.parametrize("order", range(6))
def test_the_orders_are_all_pairs_up_to_the_order_each_once(order):
    pairs = list(derivative_orders(order))
    assert len(pairs) == len(set(pairs)) == (order + 1) * (order + 2) // 2
    assert set(pairs) == {(i, j) for i in range(order + 1) for j in range(order + 1) if i + j <= order}


def test_the_scale_is_the_logarithm_of_sigma_to_base_two():
    assert [scale_for(sigma) for sigma in (0.5, 1.0, 8.0)] == [-1.0, 0.0, 3.0]


def test_maps_are_never_enlarged_and_made_smaller_in_proportion_to_sigma():
    assert [subsampling(sigma, 2.0) for sigma in (0.5, 2.0, 3.0)] == [1.0, 1.0, 1.5]
    assert [subsampling(sigma, 4.0, published=True) for sigma in (1.0, 2.0, 3.0)] == [1.0, 1.0, 2.0]
    assert math.isclose(subsampling(2.5, 4.0, published=True), 2**2.5 / 4)
