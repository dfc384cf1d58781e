"""Size arithmetic: rounding, exact positions, footprints, bounds and the trust region."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynpool.size_math import (
    alpha_range,
    cells_over_a_pixel,
    check_bounds,
    effective_kernel,
    effective_stride,
    output_size,
    project_alpha,
    query_grid,
    same_padding,
    sample_grid,
    window_output_size,
)

pixels = st.integers(1, 300)
strides = st.floats(0.1, 20.0)
quick = settings(deadline=None, max_examples=50)
anything = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("size", "alpha", "expected"),
    [
        (64, 2.0, 32),
        (5, 2.0, 2),  # 2.5 rounds to the even 2
        (7, 2.0, 4),  # 3.5 rounds to the even 4
        (32, 100.0, 2),  # the floor of 1.5 rounds to 2
        (1, 2.0, 2),  # one pixel becomes two ...
        (1, 0.4, 2),
        (1, 0.399, 3),  # ... and more below 2/5
        (8, 0.5, 16),
    ],
)
def test_output_size_rounds_half_to_even_with_a_floor_of_one_and_a_half(size: int, alpha: float, expected: int) -> None:
    assert output_size(size, alpha) == expected


@quick
@given(pixels, strides)
def test_output_size_is_within_half_a_pixel_of_the_real_size(size: int, alpha: float) -> None:
    assert abs(output_size(size, alpha) - max(size / alpha, 1.5)) <= 0.5
    assert output_size(size, alpha) >= 2


@pytest.mark.parametrize("size", [0, -1])
def test_output_size_refuses_an_empty_axis(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size={size}: expected a number of pixels, at least 1"):
        output_size(size, 2.0)


@pytest.mark.parametrize("alpha", [0.0, -2.0, math.nan, math.inf])
def test_output_size_refuses_an_alpha_that_is_not_finite_and_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha=.*: expected a finite positive number"):
        output_size(8, alpha)


@quick
@given(pixels, pixels)
def test_queries_lie_a_quarter_cell_either_side_of_each_cell_centre(size_in: int, size_out: int) -> None:
    floors, remainders, denominator = query_grid(size_in, size_out)
    positions = [floor + Fraction(rest, denominator) for floor, rest in zip(floors, remainders, strict=True)]
    cell = Fraction(size_in, size_out)
    assert len(positions) == 2 * size_out
    assert all(0 <= rest < denominator for rest in remainders)
    for i in range(size_out):
        centre = (i + Fraction(1, 2)) * cell - Fraction(1, 2)
        assert (positions[2 * i], positions[2 * i + 1]) == (centre - cell / 4, centre + cell / 4)


@quick
@given(pixels, pixels)
def test_samples_lie_on_the_first_pixel_of_each_cell(size_in: int, size_out: int) -> None:
    floors, remainders, denominator = sample_grid(size_in, size_out)
    positions = [floor + Fraction(rest, denominator) for floor, rest in zip(floors, remainders, strict=True)]
    assert positions == [Fraction(i * size_in, size_out) for i in range(size_out)]


@quick
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["max", "sample"]), st.integers(1, 3))
def test_cells_over_pixels_reach_from_the_first_to_the_last_that_is_near_one(
    size_in: int, size_out: int, reduce: str, together: int
) -> None:
    floors, rests, unit = query_grid(size_in, size_out)
    queries = [floor + Fraction(rest, unit) for floor, rest in zip(floors, rests, strict=True)]
    spans = [0]
    for first in range(0, size_in, together):
        tile = range(first, min(first + together, size_in))
        near = [j // 2 for j, query in enumerate(queries) if any(abs(query - pixel) <= 1 for pixel in tile)]
        if reduce == "sample":
            sampled = [Fraction(i * size_in, size_out) for i in range(size_out)]
            near += [i for i, point in enumerate(sampled) if any(abs(point - pixel) < 1 for pixel in tile)]
        if near:
            spans.append(max(near) - min(near) + 1)
    assert cells_over_a_pixel(size_in, size_out, reduce, together) == max(spans)


@pytest.mark.parametrize(
    ("size_in", "size_out", "expected"),
    [
        (64, 32, 2),  # queries on the pixels
        (32, 32, 3),  # u = 0.75 and 1.25: pixels 0, 1, 2
        (64, 16, 4),  # u = 4.5 and 6.5: pixels 4 to 7
        (60, 10, 4),  # u = 7 and 10, with the pixels between
        (8, 16, 2),  # both queries of a cell between the same two pixels
        (2, 2, 2),  # every cell touches the border: clamped
        (1, 2, 1),
    ],
)
def test_effective_kernel_counts_the_pixels_with_weight_in_the_widest_cell(
    size_in: int, size_out: int, expected: int
) -> None:
    assert effective_kernel(size_in, size_out) == expected


@quick
@given(pixels, st.integers(2, 300))
def test_effective_kernel_is_a_real_footprint(size_in: int, size_out: int) -> None:
    kernel = effective_kernel(size_in, size_out)
    assert 1 <= kernel <= size_in
    assert kernel <= size_in / (2 * size_out) + 3  # the distance of the two queries, and two pixels either side


def test_effective_stride_is_input_over_output() -> None:
    assert effective_stride(64, 24) == pytest.approx(8 / 3)
    with pytest.raises(ValueError, match="size_out=0"):
        effective_stride(64, 0)


def test_alpha_range_inverts_the_bounds() -> None:
    assert alpha_range((1 / 8, 2.0)) == (0.5, 8.0)
    assert check_bounds((1, 1)) == (1.0, 1.0)


@pytest.mark.parametrize(
    "bounds",
    [(0.0, 1.0), (2.0, 1.0), (0.5, math.inf), (math.nan, 1.0), (-1.0, 1.0), (0.5,), (0.1, 0.2, 0.3), 2.0, "ab"],
)
def test_bounds_must_be_two_ordered_finite_positive_numbers(bounds: Any) -> None:
    with pytest.raises(ValueError, match=r"bounds=.*: expected the lowest and highest scale factor"):
        check_bounds(bounds)


@quick
@given(anything, st.floats(0.5, 8.0), st.floats(0.0, 1.0) | st.none())
def test_projection_is_finite_in_bounds_in_the_trust_region_and_idempotent(
    alpha: float, previous: float, trust: float | None
) -> None:
    value = project_alpha(alpha, previous, (1 / 8, 2.0), trust)
    assert 0.5 <= value <= 8.0
    assert project_alpha(value, value, (1 / 8, 2.0), trust) == value
    if trust is not None:
        assert previous / (1 + trust) <= value <= previous * (1 + trust)


def test_projection_leaves_what_is_admissible() -> None:
    assert project_alpha(2.1, 2.0, (1 / 8, 2.0), 0.1) == 2.1
    assert project_alpha(7.0, 2.0, (1 / 8, 2.0)) == 7.0


def test_projection_moves_to_the_nearest_admissible_value() -> None:
    assert project_alpha(-15952.0, 2.0, (1 / 8, 2.0), 0.25) == 1.6
    assert project_alpha(1e9, 2.0, (1 / 8, 2.0), 0.25) == 2.5
    assert project_alpha(1e9, 7.9, (1 / 8, 2.0), 0.25) == 8.0
    assert project_alpha(math.nan, 2.0) == 2.0
    assert project_alpha(-math.inf, 3.0) == 3.0


def test_bounds_come_before_the_trust_region() -> None:
    assert project_alpha(2.0, 2.0, (1 / 8, 1 / 4), 0.1) == 4.0


def test_projection_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="previous=-1"):
        project_alpha(2.0, -1.0)
    with pytest.raises(ValueError, match=r"trust=-0\.1: expected a relative change of at least 0"):
        project_alpha(2.0, 2.0, (1 / 8, 2.0), -0.1)
    with pytest.raises(ValueError, match="trust=nan"):
        project_alpha(2.0, 2.0, (1 / 8, 2.0), math.nan)


@given(pixels, st.integers(1, 9), st.integers(1, 5), st.integers(1, 3))
@quick
def test_same_padding_makes_room_for_every_window(n: int, kernel: int, stride: int, dilation: int) -> None:
    low, high = same_padding(n, kernel, stride, dilation)
    assert 0 <= low <= high <= low + 1
    out = math.ceil(n / stride)
    assert window_output_size(n + low + high, kernel, stride, 0, dilation) == out
    if low + high:  # and for no more
        assert (out - 1) * stride + dilation * (kernel - 1) + 1 == n + low + high
