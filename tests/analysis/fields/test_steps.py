"""Windows of steps: resizes by a whole number, by their inverses, and over what they cover."""

import pytest

from dynpool.analysis.fields.steps import Layer, Resized, Window, interpolated
from dynpool.size_math import effective_kernel


@pytest.mark.parametrize("points", [1, 2, 4])
@pytest.mark.parametrize(("size_in", "size_out"), [(8, 16), (9, 6), (12, 4), (7, 5)])
def test_outputs_of_an_interpolation_are_spread_evenly_over_the_map(points: int, size_in: int, size_out: int) -> None:
    window = interpolated(size_in, size_out, points, False)
    assert window.kernel == points
    assert window.stride * size_out == pytest.approx(size_in)
    middles = [window.offset + q * window.stride for q in range(size_out)]
    if points > 1:
        assert sum(middles) / size_out == pytest.approx((size_in - 1) / 2)
    else:  # the nearest rounds down
        exact = [q * size_in // size_out for q in range(size_out)]
        assert sum(middles) / size_out == pytest.approx(sum(exact) / size_out)


def test_with_aligned_corners_first_and_last_pixels_are_each_others() -> None:
    window = interpolated(5, 9, 2, True)
    assert (window.offset, window.offset + 8 * window.stride) == (0.0, 4.0)
    assert interpolated(5, 1, 2, True).stride == 5.0


def test_an_interpolation_to_the_same_size_does_nothing() -> None:
    assert interpolated(7, 7, 4, False) == interpolated(7, 7, 2, True) == interpolated(9, 9, 1, False, 1.1) == Window()


def test_unless_it_steps_by_its_factor() -> None:
    assert interpolated(9, 9, 1, False, 1.1, copies=False).stride == pytest.approx(1 / 1.1)
    assert interpolated(9, 9, 4, False, 1.1, copies=False).stride == pytest.approx(1 / 1.1)
    assert interpolated(9, 12, 2, False, 1.1).stride == 9 / 12, "a size that the factor does not give"


@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@pytest.mark.parametrize(("size_in", "size_out"), [(8, 4), (9, 6), (5, 8)])
def test_cells_of_the_operator_have_its_footprint(reduce: str, size_in: int, size_out: int) -> None:
    window = Resized(0, 0, -1, size_in, size_out, reduce=reduce).at_tracing()
    assert window.stride == size_in / size_out
    if reduce == "sample":
        assert window.kernel == (1 if size_in % size_out == 0 else 2)
        assert window.offset == 0.0
    else:
        assert window.kernel == effective_kernel(size_in, size_out)
        assert window.offset + (size_out - 1) / 2 * window.stride == pytest.approx((size_in - 1) / 2)


def test_a_kernel_over_the_whole_map_is_a_linear_layer() -> None:
    windows = (Window(7, 1.0, 3.0), Window(5, 1.0, 2.0))
    layer = Layer(0, windows, whole=((0, -2, 7), (0, -1, 5)))
    assert layer.covers([7, 5], windows)
    assert not layer.covers([7, 6], windows)
    assert not Layer(0, windows).covers([7, 5], windows)


def test_the_shortest_path_is_that_of_the_narrowest_window() -> None:
    assert Window(5).shortest == 5
    assert Window(float("inf"), narrow=2).shortest == 2
