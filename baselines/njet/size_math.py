"""Size arithmetic of the N-Jet: pure functions of Python numbers.

Reference: Pintea et al., "Resolution learning in deep convolutional networks using scale-space theory", IEEE TIP 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

__all__ = ["derivative_orders", "radius_of", "scale_for", "sigma_within", "subsampling"]


def radius_of(sigma: float, truncate: float = 2.0) -> int:
    """Pixels from the centre to the edge of the kernel: ``ceil(truncate * sigma + 0.5)``, as published.

    >>> [2 * radius_of(sigma) + 1 for sigma in (0.25, 0.5, 1.0, 2.0)]
    [3, 5, 7, 11]
    """
    return math.ceil(truncate * sigma + 0.5)


def sigma_within(side: float, truncate: float = 2.0) -> float:
    """The largest sigma whose kernel has at most ``side`` pixels; not positive if a kernel has more at any sigma.

    >>> sigma_within(7), sigma_within(8), sigma_within(1)
    (1.25, 1.25, -0.25)
    """
    return ((side - 1) // 2 - 0.5) / truncate


def scale_for(sigma: float) -> float:
    """The parameter that stands for a sigma: ``log2(sigma)``."""
    return math.log2(sigma)


def derivative_orders(order: int) -> Iterator[tuple[int, int]]:
    """The orders (along y, along x) of the basis: all pairs whose sum is at most ``order``.

    >>> list(derivative_orders(1))
    [(0, 0), (0, 1), (1, 0)]
    """
    return ((i, j) for i in range(order + 1) for j in range(order + 1 - i))


def subsampling(sigma: float, rate: float, *, published: bool = False) -> float:
    """The factor by which a map is made smaller: ``max(1, sigma / rate)``, published ``max(1, 2 ** sigma / rate)``.

    >>> subsampling(3.0, 1.5), subsampling(0.5, 1.5), subsampling(3.0, 4.0, published=True)
    (2.0, 1.0, 2.0)
    """
    return max(1.0, (2.0**sigma if published else sigma) / rate)
