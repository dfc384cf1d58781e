"""The size arithmetic of the Shape Adaptor, against numbers computed by hand and properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynpool.baselines.shape_adaptor.size_math import (
    adapted_size,
    alpha_for,
    initial_alpha,
    scale_factor,
    scales_between,
    shrink_factor,
    uniform_positions,
)

alphas = st.floats(-12, 12)


@given(alphas, st.floats(0.1, 0.6), st.floats(0.7, 1.0))
def test_scale_lies_between_the_ratios_and_leads_back_to_alpha(alpha: float, low: float, high: float) -> None:
    scale = scale_factor(alpha, (low, high))
    assert low < scale < high
    assert alpha_for(scale, (low, high)) == pytest.approx(alpha, abs=1e-6)


@given(st.integers(2, 500), alphas)
def test_every_adaptor_drops_a_pixel_and_no_more_than_its_scale_says(size: int, alpha: float) -> None:
    out = adapted_size(size, scale_factor(alpha))
    assert max(size // 2, 1) <= out < size
    assert out == max(math.floor(size * scale_factor(alpha) + 1e-9), 1)


@given(st.integers(20, 300), st.integers(1, 8), st.floats(0.55, 0.95))
def test_initial_alpha_leads_to_the_wanted_size(size: int, adaptors: int, q: float) -> None:
    last = max(round(size * q**adaptors), 1)
    if not size * 0.5**adaptors < last < size:
        return
    exact = float(size)
    for _ in range(adaptors):
        exact *= scale_factor(initial_alpha(size, last, adaptors))
    assert exact == pytest.approx(last, rel=1e-5)
    assert exact >= last * (1 - 1e-12)  # rounding down costs no pixel


def test_initial_alpha_is_the_logit_of_the_formula() -> None:
    q = (8 / 224) ** (1 / 6)
    assert initial_alpha(224, 8, 6) == pytest.approx(math.log((q - 0.5) / (1 - q)), abs=1e-6)
    assert initial_alpha(40, 32, 1) >= alpha_for(0.8)  # float32 rounds it upwards, so that 40 pixels become 32, not 31
    assert adapted_size(40, scale_factor(initial_alpha(40, 32, 1))) == 32


@pytest.mark.parametrize(
    ("size_in", "size_out", "adaptors", "message"),
    [
        (32, 32, 4, "size_out=32: expected from 1 to 31 pixels"),
        (32, 40, 4, "size_out=40"),
        (32, 0, 4, "size_out=0"),
        (32, 8, 0, "adaptors=0: expected an integer of at least 1"),
        (32, 8, 2, "2 adaptors cannot resize 32 to 8 pixels: a scale factor of 0.5 cannot be reached"),
        (32, 2, 3, "3 adaptors cannot resize 32 to 2 pixels"),
    ],
)
def test_unreachable_sizes_are_an_error(size_in: int, size_out: int, adaptors: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        initial_alpha(size_in, size_out, adaptors)
    assert initial_alpha(32, 9, 2) < -2  # one pixel more than half of half can be reached


@given(st.floats(1, 300), st.integers(1, 8), st.floats(0.6, 0.99))
def test_shrinking_brings_the_last_size_to_the_limit(limit: float, adaptors: int, scale: float) -> None:
    size = 224 * scale**adaptors
    p = shrink_factor(limit, size, adaptors)
    assert p <= 1
    assert 224 * (scale * p) ** adaptors == pytest.approx(min(size, limit))
    assert shrink_factor(None, size, adaptors) == 1


@given(st.integers(2, 300), st.integers(1, 300), st.booleans())
def test_scales_between_are_those_that_give_the_size(size: int, out: int, fractions: bool) -> None:
    low, high = scales_between(size, out, fractions=fractions)
    assert adapted_size(size, (low + high) / 2, fractions=fractions) == out
    assert adapted_size(size, low + 0.01 * (high - low), fractions=fractions) == out
    assert adapted_size(size, high + 0.01 * (high - low), fractions=fractions) == out + 1


def test_uniform_positions_and_their_limits() -> None:
    assert uniform_positions(16, 6) == [0, 2, 5, 8, 10, 13]
    assert uniform_positions(3, 3) == [0, 1, 2]
    for adaptors in (0, 4):
        with pytest.raises(ValueError, match=f"adaptors={adaptors}: expected from 1 to 3"):
            uniform_positions(3, adaptors)
