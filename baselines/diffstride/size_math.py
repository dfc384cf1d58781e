"""Size arithmetic of spectral pooling: pure functions of Python integers and floats.

Spectral pooling keeps the low frequencies of a map, so its output sizes are numbers of kept frequencies. With a learned
stride the gain of a frequency at distance ``d`` is ``clip(1 + (t - d) / R, 0, 1)``, where ``R`` is the smoothness and
``t`` a threshold that the stride sets. Frequencies with a positive gain are kept, that is all ``d < t + R``.

References: Rippel et al., "Spectral Representations for Convolutional Neural Networks", NeurIPS 2015 (hard crop);
Riad et al., "Learning strides in convolutional neural networks", ICLR 2022 (DiffStride: learned, smooth crop).
"""

from __future__ import annotations

import math
from functools import lru_cache
from numbers import Real

from dynpool.size_math import Pair, Size

__all__ = [
    "check_smoothness",
    "diffstride_size",
    "diffstride_stride",
    "fixed_spectral_size",
    "least_stride",
    "least_strides",
    "row_window",
]


def least_stride(n: int, smoothness: float) -> float:
    """The smallest effective stride on an axis of ``n`` pixels: ``max(1, n / (n - R))``, and 1 where ``R >= n``.

    >>> least_stride(32, 4), least_stride(4, 4)
    (1.1428571428571428, 1.0)
    """
    return max(1.0, n / (n - smoothness)) if n > smoothness else 1.0


def least_strides(size: Size, smoothness: float, *, shared: bool = False, published: bool = False) -> Pair:
    """The smallest effective strides (rows, columns) on a map of ``size`` (H, W) pixels, see `least_stride`.

    Args:
        size: (H, W), pixels.
        smoothness: R.
        shared: whether one stride serves both axes; matters only with ``published``.
        published: as the authors' code: the larger bound counts for both axes of a shared stride, and where ``n = R``
            the bound ``n / (n - R)`` is infinite.

    >>> least_strides((32, 8), 4, shared=True), least_strides((32, 8), 4, shared=True, published=True)
    ((1.1428571428571428, 2.0), (2.0, 2.0))
    """
    height, width = (math.inf if published and n == smoothness else least_stride(n, smoothness) for n in size)
    return (max(height, width),) * 2 if published and shared else (height, width)


@lru_cache(maxsize=4096)
def diffstride_size(
    size: Size,
    strides: tuple[float, float],
    smoothness: float = 4.0,
    *,
    symmetric: bool = False,
    shared: bool = False,
    published: bool = False,
) -> Size:
    """DiffStride's output (height, width) in pixels for a map of ``size`` pixels: the number of positive gains.

    With ``s`` the stride, at least `least_stride`, and ``t = max(n / s, 2) / 2``:

    - rows: ``2 * min(ceil(R + t), H / 2)`` for even ``H``, ``2 * min(ceil(R + t), (H + 1) / 2) - 1`` for odd ``H``;
    - columns: ``2 * min(ceil(R + t), W // 2)``, so an odd width loses a column even at stride 1;
    - symmetric, both axes: ``min(2 * ceil(R + t) - 1, n)``.

    An axis of one pixel stays as it is.

    Args:
        size: (H, W), pixels, each at least 1.
        strides: (rows, columns), input pixels per output pixel, finite and positive.
        smoothness: R, finite and positive, in frequencies.
        symmetric: whether frequencies ``+m`` and ``-m`` have the same gain.
        shared, published: as in :func:`least_strides`.

    Raises:
        ValueError: if an argument is out of range.

    >>> diffstride_size((32, 32), (2.0, 2.0)), diffstride_size((31, 31), (2.0, 2.0))
    ((24, 24), (23, 24))
    >>> diffstride_size((32, 32), (2.0, 2.0), symmetric=True)
    (23, 23)
    """
    check_smoothness(smoothness)
    _check_size(size)
    least = least_strides(size, smoothness, shared=shared, published=published)
    half_h, half_w = (_kept_distances(*axis, smoothness) for axis in zip(size, strides, least, strict=True))
    if symmetric:
        return min(2 * half_h - 1, size[0]), min(2 * half_w - 1, size[1])
    return _rows(size[0], half_h), _columns(size[1], half_w)


def diffstride_stride(n: int, out: int, smoothness: float = 4.0) -> float:
    """A stride that resizes an axis of ``n`` pixels to ``out`` pixels, or as close to that as possible.

    A range of strides leads to any size between ``2 * ceil(R + 1)`` and ``n``; this is the middle of that range (in
    thresholds), which is robust to rounding. For smaller sizes it is ``n / 2``, the largest stride with an effect; for
    ``n`` and larger sizes `least_stride`.

    >>> diffstride_stride(32, 24), diffstride_size((32, 32), (diffstride_stride(32, 24),) * 2)
    (2.1333333333333333, (24, 24))
    """
    check_smoothness(smoothness)
    _check_size((n, out))
    least = least_stride(n, smoothness)
    if out >= n:
        return least
    threshold = max((out + 1) // 2 - smoothness - 0.5, 1.0)  # halfway between two jumps of ceil(R + t)
    return max(n / (2 * threshold), least)


def fixed_spectral_size(size: Size, strides: tuple[float, float], *, published: bool = False) -> Size:
    """(height, width) after spectral pooling with fixed strides: floor(H / s) made even, and floor(W / s), at least 2.

    An axis of one pixel stays as it is; with ``published`` it becomes two, as in DiffStride's code.

    Raises:
        ValueError: if a size or a stride is out of range.

    >>> fixed_spectral_size((32, 32), (2.0, 3.0)), fixed_spectral_size((7, 7), (1.0, 1.0))
    ((16, 10), (6, 7))
    """
    _check_size(size)
    for stride in strides:
        _check_stride(stride, least=1.0)
    height, width = (math.floor(n / stride) for n, stride in zip(size, strides, strict=True))
    height, width = max(height - height % 2, 2), max(width, 2)
    return (height, width) if published else (min(height, size[0]), min(width, size[1]))


def row_window(n: int, out: int) -> Size:
    """The numbers of rows kept at the start and at the end of a spectrum of ``n`` rows in FFT order, ``out`` in all.

    The rows with the largest gains are kept; of two with equal gains, the one of lower frequency.

    Args:
        n: number of rows.
        out: number of rows kept, at most ``n``. No branch depends on it, so one compiled graph serves all sizes.

    >>> row_window(32, 24), row_window(31, 23), row_window(31, 22), row_window(32, 23)
    ((12, 12), (11, 12), (11, 11), (12, 11))
    """
    first = (out + 1) // 2 - (n % 2) * (out % 2)  # with an odd number of rows, row +m has the gain of row -(m + 2)
    return first, out - first


def check_smoothness(smoothness: float) -> None:
    """Raise TypeError unless ``smoothness`` is a number, ValueError unless it is finite and positive."""
    number = not isinstance(smoothness, bool) and isinstance(smoothness, (int, float, Real))
    if not number or not 0 < smoothness < math.inf:  # torch.compile of torch 2.11 cannot format its own numbers
        message = f"smoothness={smoothness!r}: expected a finite positive number (frequencies)"
        raise ValueError(message) if number else TypeError(message)


def _kept_distances(n: int, stride: float, least: float, smoothness: float) -> int:
    """The number of distances ``d = 0, 1, ...`` with a positive gain at ``t = max(n / s, 2) / 2``."""
    _check_stride(stride)
    return math.ceil(smoothness + max(n / max(stride, least), 2.0) / 2)


def _rows(n: int, kept: int) -> int:
    return 2 * min(kept, (n + 1) // 2) - n % 2


def _columns(n: int, kept: int) -> int:
    return max(
        2 * min(kept, n // 2), 1
    )  # t is larger by one for columns, but m columns of a half spectrum give 2m - 2 pixels


def _check_size(size: Size) -> None:
    if len(size) != 2 or any(n < 1 for n in size):
        raise ValueError(f"size={size!r}: expected (height, width), two numbers of pixels of at least 1")


def _check_stride(stride: float, least: float = 0.0) -> None:
    allowed = "of at least 1" if least else "above 0"
    if not (least <= stride < math.inf and stride > 0):
        raise ValueError(f"stride={stride!r}: expected a finite number {allowed} (input pixels per output pixel)")
