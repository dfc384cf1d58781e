"""Names of spatial axes, and of columns with a figure for each."""

from __future__ import annotations

from collections.abc import Collection

from dynpool.size_math import AXES

__all__ = ["along_axes", "axis_names", "count_of_axes", "one_or_all"]


def axis_names(count: int) -> tuple[str, ...]:
    """The names of `count` spatial axes, in order.

    Example:
        >>> axis_names(2)
        ('height', 'width')
    """
    return AXES.get(count) or tuple(f"axis{i}" for i in range(count))


def along_axes(name: str, count: int) -> tuple[str, ...]:
    """The names of a figure along each of `count` axes, as columns of metrics.csv have them.

    Example:
        >>> along_axes("i_min", 2), along_axes("i_min", 3)
        (('i_min_h', 'i_min_w'), ('i_min_d', 'i_min_h', 'i_min_w'))
    """
    return tuple(f"{name}_{axis[0]}" for axis in AXES[count])


def count_of_axes(name: str, columns: Collection[str]) -> int | None:
    """The number of axes along which columns have a figure; None if they lack one of them.

    Example:
        >>> count_of_axes("i_min", ["epoch", "i_min_l"])
        1
    """
    return max((count for count in AXES if set(along_axes(name, count)) <= set(columns)), default=None)


def one_or_all(values: tuple[str, ...]) -> str:
    """One value if all axes have the same, else all of them: '3' or '3x5'."""
    return values[0] if len(set(values)) == 1 else "x".join(values)
