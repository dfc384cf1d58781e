"""Sizes of spectral pooling: numbers of positive gains, their inverse, and windows of rows."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynpool.baselines.diffstride.size_math import (
    diffstride_size,
    diffstride_stride,
    fixed_spectral_size,
    least_stride,
    row_window,
)

SIDES = st.integers(1, 200)
STRIDES = st.floats(1 / 8, 50, width=32)
SMOOTH = st.sampled_from([0.5, 1.0, 2.5, 4.0, 7.0])


def distances(n: int) -> dict[int, int]:
    """Published distance of each signed row frequency."""
    signed = range(-(n // 2), (n + 1) // 2)
    return {m: -m - 1 if m < 0 else m if n % 2 == 0 else min(m + 1, (n - 1) // 2) for m in signed}


def threshold(n: int, stride: float, smoothness: float) -> Fraction:
    """t of the paper, exactly, with the lower bound of the stride."""
    bound = max(Fraction(1), n / (n - Fraction(smoothness))) if n > smoothness else Fraction(1)
    return max(n / max(Fraction(stride), bound), Fraction(2)) / 2


def gain(d: int, t: Fraction, smoothness: float) -> Fraction:
    return min(max(1 + (t - d) / Fraction(smoothness), Fraction(0)), Fraction(1))


@given(SIDES, STRIDES, SMOOTH)
@example(32, 2.0, 4.0)
@example(1, 2.0, 4.0)
def test_sizes_count_the_frequencies_of_gain_above_zero(n: int, stride: float, smoothness: float) -> None:
    t = threshold(n, stride, smoothness)
    rows = sum(gain(d, t, smoothness) > 0 for d in distances(n).values())
    columns = sum(gain(m, t + 1, smoothness) > 0 for m in range(n // 2 + 1))
    signed = sum(gain(abs(m), t, smoothness) > 0 for m in range(-((n - 1) // 2), n // 2 + 1))
    assert diffstride_size((n, n), (stride, stride), smoothness) == (rows, max(2 * (columns - 1), 1))
    assert diffstride_size((n, n), (stride, stride), smoothness, symmetric=True) == (signed, signed)


def test_published_size() -> None:
    assert diffstride_size((32, 32), (2.0, 2.0)) == (24, 24)
    assert diffstride_size((224, 224), (2.0, 4.0)) == (120, 64)
    assert diffstride_size((33, 33), (3.0, 3.0)) == (19, 20)


@pytest.mark.parametrize(("size", "out"), [((1, 1), (1, 1)), ((2, 3), (2, 2)), ((3, 2), (3, 2)), ((4, 5), (4, 4))])
def test_maps_smaller_than_the_smoothness_keep_their_size_up_to_an_odd_column(
    size: tuple[int, int], out: tuple[int, int]
) -> None:
    assert diffstride_size(size, (8.0, 8.0)) == out
    assert diffstride_size(size, (8.0, 8.0), symmetric=True) == size


def test_least_stride_keeps_the_full_size_and_a_larger_one_does_not_enlarge() -> None:
    for n in range(1, 100):
        assert diffstride_size((n, n), (least_stride(n, 4.0),) * 2) == (n, max(n - n % 2, 1))
        sizes = [diffstride_size((n, n), (stride, stride)) for stride in (1.0, 1.5, 2.0, 3.0, 8.0, 1000.0)]
        assert sizes == sorted(sizes, reverse=True)


@given(SIDES, SIDES, SMOOTH, st.sampled_from(["rows", "columns", "symmetric"]))
def test_stride_for_a_size_leads_to_the_nearest_reachable_one(n: int, out: int, smoothness: float, axis: str) -> None:
    def size(stride: float) -> int:
        pair = diffstride_size((n, n), (stride, stride), smoothness, symmetric=axis == "symmetric")
        return pair[axis == "columns"]

    kept = math.ceil(smoothness + 1)
    reachable = {size(n / (2 * t)) for t in (k - smoothness - 0.5 for k in range(kept + 1, n + kept))}
    reachable |= {size(n / 2), size(1.0)}
    stride = diffstride_stride(n, out, smoothness)
    assert size(stride) in reachable
    assert abs(size(stride) - out) == min(abs(r - out) for r in reachable)
    assert stride >= least_stride(n, smoothness)


@given(SIDES, SIDES)
def test_a_window_of_rows_has_the_largest_gains(n: int, out: int) -> None:
    out = min(n, out)
    first, last = row_window(n, out)
    assert first + last == out
    d = distances(n)
    kept = [*range(first), *range(-last, 0)]
    if out < n:
        assert max(d[m] for m in kept) <= min(d[m] for m in d if m not in kept)
    else:
        assert {m % n for m in kept} == set(range(n))


def test_fixed_sizes() -> None:
    assert fixed_spectral_size((32, 32), (2.0, 3.0)) == (16, 10)
    assert fixed_spectral_size((7, 7), (1.0, 1.0)) == (6, 7)
    assert fixed_spectral_size((9, 9), (8.0, 8.0)) == (2, 2)
    assert fixed_spectral_size((1, 1), (2.0, 2.0)) == (1, 1)
    assert fixed_spectral_size((10, 10), (10 / 7, 10 / 7)) == (6, 7)  # floor of the quotient, not of a product


@pytest.mark.parametrize("stride", [0.0, -1.0, math.inf, math.nan])
def test_a_bad_stride_is_an_error(stride: float) -> None:
    with pytest.raises(ValueError, match=r"stride=.*above 0"):
        diffstride_size((8, 8), (2.0, stride))
    with pytest.raises(ValueError, match=r"stride=.*at least 1"):
        fixed_spectral_size((8, 8), (stride, 2.0))


def test_fixed_strides_below_one_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"stride=0\.9.*at least 1"):
        fixed_spectral_size((8, 8), (0.9, 2.0))


@pytest.mark.parametrize("smoothness", [0.0, -4.0, math.inf, math.nan])
def test_a_bad_smoothness_is_an_error(smoothness: float) -> None:
    with pytest.raises(ValueError, match="smoothness="):
        diffstride_size((8, 8), (2.0, 2.0), smoothness)
    with pytest.raises(ValueError, match="smoothness="):
        diffstride_stride(8, 4, smoothness)


def test_a_bad_size_is_an_error() -> None:
    for size in ((0, 8), (8, -1)):
        with pytest.raises(ValueError, match="size="):
            diffstride_size(size, (2.0, 2.0))
        with pytest.raises(ValueError, match="size="):
            fixed_spectral_size(size, (2.0, 2.0))
    with pytest.raises(ValueError, match="size="):
        diffstride_stride(8, 0)
