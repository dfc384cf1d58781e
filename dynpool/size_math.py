"""Arithmetic of sizes along one axis: pure functions of Python integers and floats.

Everything that needs a size, a query position, a footprint or a bound asks here: the operator, its fake, the module,
the cost and the receptive fields. Positions are rational numbers and are handled as integers, so that they are exact
at any size and in every dtype.

Reference: Jang et al., "Pooling Revisited: Your Receptive Field is Suboptimal", CVPR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from numbers import Integral
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "AXES",
    "Pair",
    "PerAxis",
    "Size",
    "alpha_range",
    "axes_text",
    "bilinear_kernel",
    "cells_over_a_pixel",
    "check_bounds",
    "check_multiple",
    "effective_kernel",
    "effective_stride",
    "output_size",
    "pair",
    "project_alpha",
    "query_grid",
    "round_to_multiple",
    "same_padding",
    "sample_grid",
    "sample_kernel",
    "window_output_size",
]

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}  # the spatial axes of a map, in order
Size = tuple[int, ...]  # a whole number for each axis, in order: pixels, or pixels of a stride or kernel
PerAxis = tuple[float, ...]  # a real number for each axis
Pair = tuple[float, float]  # two real numbers: of height and width, or two limits
Grid = tuple[tuple[int, ...], tuple[int, ...], int]
Whole = TypeVar("Whole", int, "npt.NDArray[np.int64]")
T = TypeVar("T")


def pair(values: Iterable[T]) -> tuple[T, T]:
    """Two values, (height, width), as a tuple."""
    h, w = values
    return (h, w)


def axes_text(axes: int) -> str:
    """The spatial axes as text, in the order of sizes.

    >>> axes_text(2), axes_text(1)
    ('(height, width)', '(length,)')
    """
    return f"({', '.join(AXES[axes])}{',' * (axes == 1)})"


def output_size(size: float, alpha: float) -> int:
    """Number of output pixels along one axis: ``round(max(size / alpha, 1.5))``, half to even (Eq. 1 and section 5.1).

    The floor of 1.5 keeps at least two output pixels, so an axis of one pixel becomes two for every ``alpha >= 2/5``.

    Args:
        size: input pixels, at least 1.
        alpha: learned stride of the axis, input pixels per output pixel, finite and positive.

    Raises:
        ValueError: if ``size`` is below 1 or ``alpha`` is not finite and positive.

    >>> output_size(64, 2.0), output_size(7, 2.0), output_size(5, 2.0), output_size(1, 2.0)
    (32, 4, 2, 2)
    """
    _check_size("size", size)
    _check_alpha("alpha", alpha)
    return round(max(size / alpha, 1.5))


@lru_cache(maxsize=1024)
def query_grid(size_in: int, size_out: int) -> Grid:
    """Positions of the ``2 * size_out`` queries of an axis, in input pixels, not clamped to the map (Eq. 2).

    Query ``j`` lies at ``u_j = (j + 1/2) * size_in / (2 * size_out) - 1/2``, which is the exact fraction
    ``((2j + 1) * size_in - 2 * size_out) / (4 * size_out)``. Cell ``i`` owns queries ``2i`` and ``2i + 1``.

    Returns:
        ``(floors, remainders, denominator)`` with ``u_j = floors[j] + remainders[j] / denominator``.

    >>> query_grid(4, 2)
    ((0, 1, 2, 3), (0, 0, 0, 0), 8)
    """
    _check_size("size_in", size_in)
    _check_size("size_out", size_out)
    denominator = 4 * size_out
    pairs = [divmod((2 * j + 1) * size_in - 2 * size_out, denominator) for j in range(2 * size_out)]
    return tuple(floor for floor, _ in pairs), tuple(rest for _, rest in pairs), denominator


@lru_cache(maxsize=1024)
def sample_grid(size_in: int, size_out: int) -> Grid:
    """Positions of the ``size_out`` points that the reduction "sample" takes: ``u_i = i * size_in / size_out``.

    Returns:
        ``(floors, remainders, denominator)`` as in :func:`query_grid`.

    >>> sample_grid(6, 3)
    ((0, 2, 4), (0, 0, 0), 3)
    """
    _check_size("size_in", size_in)
    _check_size("size_out", size_out)
    pairs = [divmod(i * size_in, size_out) for i in range(size_out)]
    return tuple(floor for floor, _ in pairs), tuple(rest for _, rest in pairs), size_out


@lru_cache(maxsize=1024)
def cells_over_a_pixel(size_in: int, size_out: int, reduce: str, pixels: int = 1) -> int:
    """Number of cells in a row that have a query at most one pixel away from the same pixel, at its largest.

    These are all the cells whose value, or derivative to a position, can depend on that pixel, or on one of a group of
    ``pixels``, which begin at multiples of that number. For "sample", cells whose sampled point does so count, too.

    >>> cells_over_a_pixel(8, 4, "max"), cells_over_a_pixel(8, 8, "max"), cells_over_a_pixel(8, 16, "max")
    (2, 3, 4)
    """
    most = 0
    for pixel in range(0, size_in, pixels):
        end = min(pixel + pixels, size_in) - 1
        first = max(-((size_in - (4 * pixel - 2) * size_out) // (2 * size_in)), 0) // 2
        last = ((4 * end + 6) * size_out - size_in) // (2 * size_in) // 2
        if reduce == "sample":
            first = min(first, max(((pixel - 1) * size_out + size_in) // size_in, 0))
            last = max(last, -(-(end + 1) * size_out // size_in) - 1)
        most = max(most, min(last, size_out - 1) - first + 1)
    return most


@lru_cache(maxsize=1024)
def effective_kernel(size_in: int, size_out: int) -> int:
    """Number of input pixels that one cell of the resizer looks at: its kernel size for receptive fields.

    A cell sees the pixels with non-zero weight under its two queries, ``ceil(u_{2i+1}) - floor(u_{2i}) + 1`` of them.
    The largest such footprint counts, over the cells whose queries all lie inside the map; if there is none, over all
    cells with their queries clamped to the map.

    >>> effective_kernel(64, 32), effective_kernel(32, 32), effective_kernel(64, 16)
    (2, 3, 4)
    """
    floors, remainders, _ = query_grid(size_in, size_out)
    last = size_in - 1
    spans = [
        (floors[2 * i], floors[2 * i + 1] + (remainders[2 * i + 1] > 0)) for i in range(size_out)
    ]  # first and last pixel seen
    inside = [(low, high) for low, high in spans if low >= 0 and high <= last]
    if not inside:
        inside = [(min(max(low, 0), last), min(max(high, 0), last)) for low, high in spans]
    return max(high - low + 1 for low, high in inside)


def sample_kernel(size_in: int, size_out: int) -> int:
    """Number of input pixels that one point of the reduction "sample" looks at: one, or two that it lies between.

    >>> sample_kernel(6, 3), sample_kernel(6, 4)
    (1, 2)
    """
    return 1 if size_in % size_out == 0 else 2


@lru_cache(maxsize=1024)
def bilinear_kernel(size_in: int, size_out: int, *, align_corners: bool) -> int:
    """Number of input pixels with a weight in one output pixel of a bilinear interpolation without antialiasing.

    The largest such footprint counts, over the output pixels that do not lie outside the input's pixel centres.

    >>> bilinear_kernel(32, 16, align_corners=False), bilinear_kernel(33, 17, align_corners=True)
    (2, 1)
    """
    _check_size("size_in", size_in)
    _check_size("size_out", size_out)
    if align_corners:
        points = [divmod(i * (size_in - 1), max(size_out - 1, 1)) for i in range(size_out)]
    else:
        points = [divmod((2 * i + 1) * size_in - size_out, 2 * size_out) for i in range(size_out)]
    between = any(rest > 0 and 0 <= floor < size_in - 1 for floor, rest in points)
    return 2 if between else 1


def effective_stride(size_in: int, size_out: int) -> float:
    """Input pixels per output pixel, ``size_in / size_out``: a real number.

    >>> effective_stride(64, 24)
    2.6666666666666665
    """
    _check_size("size_in", size_in)
    _check_size("size_out", size_out)
    return size_in / size_out


def window_output_size(
    n: Whole, kernel: Whole, stride: Whole, padding: int, dilation: int, *, ceil_mode: bool = False
) -> Whole:
    """Output pixels of a sliding window along one axis, as PyTorch computes them; integer arrays go elementwise.

    >>> window_output_size(224, 7, 2, 3, 1), window_output_size(7, 3, 2, 0, 1, ceil_mode=True)
    (112, 3)
    """
    span = n + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return span // stride + 1
    out = -(-span // stride) + 1
    return out - ((out - 1) * stride >= n + padding)  # the last window must start inside


def round_to_multiple(size: int, multiple: int) -> int:
    """The multiple nearest to a size in pixels, at least one: ``multiple * max(1, round(size / multiple))``.

    >>> round_to_multiple(30, 8), round_to_multiple(3, 8), round_to_multiple(20, 8), round_to_multiple(13, 1)
    (32, 8, 16, 13)
    """
    return multiple * max(1, round(size / multiple))


def check_multiple(multiple_of: int | Size, axes: int = 2) -> Size:
    """``multiple_of`` as a number for each axis.

    Raises:
        ValueError: unless it is a positive int or one for each axis.
    """
    given: object = multiple_of
    each: object = (given,) * axes if isinstance(given, Integral) else given
    whole = isinstance(each, (tuple, list)) and all(isinstance(n, Integral) and not isinstance(n, bool) for n in each)
    if not isinstance(each, (tuple, list)) or not whole or len(each) != axes or min(each) < 1:
        raise ValueError(f"multiple_of must be a positive int or {axes_text(axes)}, got {multiple_of!r}")
    return tuple(map(int, each))


def same_padding(n: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Pixels that TensorFlow's SAME padding puts in front of and behind `n` pixels: ceil(n / stride) windows fit.

    >>> same_padding(224, 3, 2, 1), same_padding(225, 3, 2, 1), same_padding(7, 1, 2, 1)
    ((0, 1), (1, 1), (0, 0))
    """
    total = max((-(-n // stride) - 1) * stride + dilation * (kernel - 1) + 1 - n, 0)
    return total // 2, total - total // 2


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return ``bounds`` as two floats, the lowest and highest scale factor (output size / input size) of an axis.

    Raises:
        ValueError: unless they are finite and ``0 < lowest <= highest``.
    """
    try:
        lowest, highest = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        lowest, highest = math.nan, math.nan
    if not (0 < lowest <= highest < math.inf):
        raise ValueError(
            f"bounds={bounds!r}: expected the lowest and highest scale factor (output / input), "
            "two finite numbers with 0 < lowest <= highest"
        )
    return lowest, highest


def alpha_range(bounds: tuple[float, float]) -> tuple[float, float]:
    """Smallest and largest alpha that scale factors within ``bounds`` allow: ``(1 / highest, 1 / lowest)``.

    >>> alpha_range((1 / 8, 2.0))
    (0.5, 8.0)
    """
    lowest, highest = check_bounds(bounds)
    return 1.0 / highest, 1.0 / lowest


def project_alpha(
    alpha: float, previous: float, bounds: tuple[float, float] = (1 / 8, 2.0), trust: float | None = None
) -> float:
    """The admissible alpha nearest to ``alpha`` after an optimiser step.

    Args:
        alpha: what the optimiser left, possibly negative, infinite or NaN.
        previous: the last admissible value, finite and positive. Stands in for an ``alpha`` that is not finite.
        bounds: lowest and highest scale factor (output size / input size).
        trust: largest relative change of the size in either direction, so that alpha stays between
            ``previous / (1 + trust)`` and ``previous * (1 + trust)``. ``None``: no limit. The bounds come first where
            the two contradict each other.

    >>> project_alpha(-15952.0, 2.0, trust=0.25), project_alpha(float("nan"), 2.0), project_alpha(9.0, 8.0)
    (1.6, 2.0, 8.0)
    """
    _check_alpha("previous", previous)
    lowest, highest = alpha_range(bounds)
    if trust is not None and not trust >= 0:
        raise ValueError(f"trust={trust!r}: expected a relative change of at least 0, or None")
    value = alpha if math.isfinite(alpha) else previous
    if trust is not None:
        value = min(max(value, previous / (1.0 + trust)), previous * (1.0 + trust))
    return min(max(value, lowest), highest)


def _check_size(name: str, size: float) -> None:
    if size < 1:
        raise ValueError(f"{name}={size!r}: expected a number of pixels, at least 1")


def _check_alpha(name: str, alpha: float) -> None:
    if not 0 < alpha < math.inf:
        raise ValueError(f"{name}={alpha!r}: expected a finite positive number (input pixels per output pixel)")
