"""Names of spatial axes."""

from __future__ import annotations

from dynpool.size_math import AXES

__all__ = ["axis_names", "one_or_all"]


def axis_names(count: int) -> tuple[str, ...]:
    """The names of `count` spatial axes, in order.

    Example:
        >>> axis_names(2)
        ('height', 'width')
    """
    return AXES.get(count) or tuple(f"axis{i}" for i in range(count))


def one_or_all(values: tuple[str, ...]) -> str:
    """One value if all axes have the same, else all of them: '3' or '3x5'."""
    return values[0] if len(set(values)) == 1 else "x".join(values)
