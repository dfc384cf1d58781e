"""The learned resizers that `convert` puts in a model: what its argument `pool` may be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from dynpool.resizers import LearnedResizer
from dynpool.size_math import PerAxis, axes_text

__all__ = ["check_pool", "made"]


def check_pool(pool: object, size: tuple[int, ...]) -> None:
    """Check that a class of resizers, or its partial, is for as many axes as an input size has.

    Raises:
        ValueError: if it is for others.
    """
    kind = pool.func if isinstance(pool, partial) else pool
    if isinstance(kind, type) and issubclass(kind, LearnedResizer) and kind.axes != len(size) - 1:
        raise ValueError(
            f"pool is a {kind.__name__}, for {axes_text(kind.axes)}, but input_size={size} has "
            f"{axes_text(len(size) - 1)}; pool=None takes the DynOPool of the network's axes"
        )


def made(
    pool: Callable[..., LearnedResizer[Any]], size: tuple[int, ...], *args: PerAxis, **options: Any
) -> LearnedResizer[Any]:
    """The resizer that `pool` returns.

    Raises:
        TypeError: if it cannot be called so, or returns anything else.
        ValueError: if it returns a resizer for other axes than those of the input size.
    """
    try:
        resizer: object = pool(*args, **options)
    except TypeError as error:
        how = "pool(strides, reduce=..., bounds=...) and as pool(reduce=..., tied_to=...)"
        raise TypeError(f"pool is {pool!r}, which cannot be called as {how}: {error}") from error
    if not isinstance(resizer, LearnedResizer):
        raise TypeError(f"pool is {pool!r}, which made a {type(resizer).__name__}, not a LearnedResizer")
    check_pool(type(resizer), size)
    return resizer
