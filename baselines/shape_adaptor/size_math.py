"""Size arithmetic of the Shape Adaptor: pure functions of Python numbers.

A Shape Adaptor with the parameter alpha mixes a branch of scale factor r1 with one of scale factor r2. Its own scale
factor is s = r1 + (r2 - r1) * w with w = sigmoid(alpha).

Reference: Liu et al., "Shape Adaptor: A Learnable Resizing Module", ECCV 2020.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from dynpool.analysis.common.statistics import plural
from dynpool.common.arguments import check_flags, check_whole
from dynpool.resizers import as_pair
from dynpool.size_math import Pair

__all__ = [
    "ALPHA_LIMIT",
    "PUBLISHED_ALPHA_LIMIT",
    "adapted_size",
    "alpha_for",
    "initial_alpha",
    "scale_factor",
    "scales_between",
    "shrink_factor",
    "uniform_positions",
]


ALPHA_LIMIT = 12.0  # beyond it the gradient of a sigmoid vanishes
PUBLISHED_ALPHA_LIMIT = 700.0  # the published code has none; exp(710) is infinite
_RATIOS = "expected two numbers with 0 <= r1 < r2, the scale factors of the two branches"
_QUOTIENT = 1e-9  # pixels, tolerance for the rounding error of a quotient
_PUBLISHED_EPSILON = 1e-4  # added to the odds of w by the published code


def scale_factor(alpha: float, ratios: Pair = (0.5, 1.0)) -> float:
    """Output size / input size: ``r1 + (r2 - r1) * sigmoid(alpha)``.

    >>> scale_factor(0.0), round(scale_factor(2.19), 2), round(scale_factor(-2.19), 2)
    (0.75, 0.95, 0.55)
    """
    low, high = ratios
    return low + (high - low) / (1.0 + math.exp(-alpha))


def alpha_for(scale: float, ratios: Pair = (0.5, 1.0)) -> float:
    """The alpha that gives a scale factor: ``logit((s - r1) / (r2 - r1))``.

    Raises:
        ValueError: unless ``r1 < scale < r2``.
    """
    low, high = ratios
    if not low < scale < high:
        raise ValueError(f"a scale factor of {scale:.6g} cannot be reached: it must lie between {low:g} and {high:g}")
    return math.log((scale - low) / (high - scale))


def initial_alpha(
    size_in: int, size_out: int, adaptors: int, ratios: Pair = (0.5, 1.0), *, published: bool = False
) -> float:
    """The alpha with which ``adaptors`` adaptors in sequence reduce ``size_in`` to ``size_out`` pixels.

    It is ``logit((q - r1) / (r2 - r1))`` with ``q = (size_out / size_in) ** (1 / adaptors)``, rounded up to a float32,
    so that rounding sizes down does not lose another pixel.

    Args:
        size_in: input size in pixels.
        size_out: output size in pixels.
        adaptors: number of adaptors, at least 1.
        ratios: (r1, r2) of the two branches.
        published: as the authors' code, ``log((q - r1) / (r2 - q) + 1e-4)``, and log(1e-4) where no alpha exists.

    Raises:
        TypeError: if an argument has a wrong type.
        ValueError: if ``adaptors`` or a size is below 1, ``size_out`` is not below ``size_in``, or no alpha exists.

    >>> alpha = initial_alpha(32, 8, 4)
    >>> size, sizes = 32, []
    >>> for _ in range(4):
    ...     size = adapted_size(size, scale_factor(alpha))
    ...     sizes.append(size)
    >>> sizes
    [22, 15, 10, 7]
    """
    check_whole(1, size_in=size_in, size_out=size_out, adaptors=adaptors)
    check_flags(published=published)
    low, high = as_pair(ratios, f"ratios={ratios!r}: {_RATIOS}")
    if not 0 <= low < high:
        raise ValueError(f"ratios={ratios!r}: {_RATIOS}")
    if not 1 <= size_out < size_in:
        raise ValueError(f"size_out={size_out!r}: expected from 1 to {size_in - 1} pixels, below size_in={size_in}")
    wanted = (size_out / size_in) ** (1 / adaptors)
    if published and wanted < high:
        return _float32(math.log(max((wanted - low) / (high - wanted), 0.0) + _PUBLISHED_EPSILON))
    try:
        exact = alpha_for(wanted, ratios)
    except ValueError as error:
        raise ValueError(
            f"{plural(adaptors, 'adaptor')} cannot resize {size_in} to {size_out} pixels: {error}"
        ) from None
    alpha = exact
    while scale_factor(_float32(alpha), ratios) < wanted:
        alpha = max(alpha + abs(alpha) * 2.0**-24, alpha + 2.0**-30)
    return _float32(alpha)


def adapted_size(size: float, scale: float, *, fractions: bool = False) -> int:
    """Output size of an adaptor in pixels: ``floor(size * scale)``, or rounded to the nearest with ``fractions``.

    Rounding down ("local" bookkeeping) reduces the size by at least a pixel. With ``fractions`` ("global" bookkeeping)
    ``size`` need not be whole.

    >>> adapted_size(224, 0.999), adapted_size(212.7, 0.95, fractions=True)
    (223, 202)
    """
    pixels = size * scale
    return max(round(pixels) if fractions else math.floor(pixels + _QUOTIENT), 1)


def scales_between(size_in: float, size_out: int, *, fractions: bool = False) -> Pair:
    """The half-open interval of scale factors that lead from one size to another: (lowest, excluded end)."""
    low, high = (size_out - 0.5, size_out + 0.5) if fractions else (size_out, size_out + 1)
    return low / size_in, high / size_in


def shrink_factor(limit: float | None, size: float, adaptors: int) -> float:
    """The factor for all scale factors that keeps the last size within a limit (memory-bounded training).

    ``p = min(1, (limit / size) ** (1 / adaptors))``, with ``size`` the last size without the limit; None: no limit.

    >>> shrink_factor(6, 8.0, 4), shrink_factor(6, 5.0, 4)
    (0.9306048591020996, 1.0)
    """
    return 1.0 if limit is None else min(1.0, (limit / size) ** (1.0 / adaptors))


def uniform_positions(positions: int, adaptors: int) -> Sequence[int]:
    """The indices of the positions that uniformly placed adaptors take: ``floor(i * positions / adaptors)``.

    Raises:
        ValueError: unless ``1 <= adaptors <= positions``.

    >>> uniform_positions(12, 4), uniform_positions(18, 4)
    ([0, 3, 6, 9], [0, 4, 9, 13])
    """
    if not 1 <= adaptors <= positions:
        raise ValueError(f"adaptors={adaptors!r}: expected from 1 to {positions}, the number of positions for them")
    return [i * positions // adaptors for i in range(adaptors)]


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])
