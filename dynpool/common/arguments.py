"""Argument checks shared by public functions. Errors name the argument, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real

from torch import SymInt, Tensor, nn

__all__ = [
    "check_flags", "check_model", "check_numbers", "check_size", "check_sizes", "check_whole", "is_number", "is_whole",
]  # fmt: skip


def is_whole(value: object) -> bool:
    """Whether the value is an integer of Python, NumPy or a compiler, and not a bool."""
    return isinstance(value, (int, SymInt, Integral)) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether the value is a real number of Python or NumPy or a tensor with one element, and not a bool."""
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, (int, float, Real)) and not isinstance(value, bool)


def check_model(model: object) -> None:
    """Raise TypeError unless `model` is an nn.Module."""
    if isinstance(model, nn.Module):
        return
    if isinstance(model, type):
        raise TypeError(f"model must be an nn.Module, got the class {model.__name__}: give an instance of it")
    raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")


def check_flags(**values: object) -> None:
    """Raise TypeError unless each named value is a bool of Python or NumPy."""
    for name, value in values.items():
        if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
            raise TypeError(f"{name}={value!r}: expected True or False")


def check_numbers(expected: str, allowed: Callable[[float], bool], **values: object) -> None:
    """Raise TypeError unless each named value is a number, ValueError unless `allowed` accepts it.

    Args:
        expected: text for the message, such as "a positive number".
        allowed: whether a number is allowed.
        values: the values by argument name.
    """
    for name, value in values.items():
        if not is_number(value):
            raise TypeError(f"{name}={value!r}: expected {expected}")
        if not allowed(float(value)):  # type: ignore[arg-type]
            raise ValueError(f"{name}={value!r}: expected {expected}")


def check_whole(lowest: int, **values: object) -> None:
    """Raise TypeError unless each named value is an integer, ValueError if it is below `lowest`."""
    for name, value in values.items():
        if not is_whole(value):
            raise TypeError(f"{name}={value!r}: expected an integer of at least {lowest}")
        if value < lowest:  # type: ignore[operator]
            raise ValueError(f"{name}={value!r}: expected an integer of at least {lowest}")


def check_size(name: str, value: object, *, lowest: int = 1) -> tuple[int, int]:
    """(height, width) as two ints.

    Raises:
        TypeError: if it is not a tuple or list of integers.
        ValueError: if it does not have two entries, or one is below `lowest`.
    """
    height, width = check_sizes(name, value, "(height, width), two integers", 2, lowest=lowest)
    return height, width


def check_sizes(name: str, value: object, expected: str, count: int, *, lowest: int = 1) -> tuple[int, ...]:
    """As many ints, each at least `lowest`.

    Args:
        name: of the argument.
        value: given by the user.
        expected: what they are and how many, for the message.
        count: how many are expected.
        lowest: smallest value allowed.

    Raises:
        TypeError: if it is not a tuple or list of integers.
        ValueError: if it does not have `count` entries, or one is below `lowest`.
    """
    if not isinstance(value, (tuple, list)) or not all(map(is_whole, value)):
        raise TypeError(f"{name}={value!r}: expected {expected} of at least {lowest}")
    if len(value) != count or any(n < lowest for n in value):
        raise ValueError(f"{name}={value!r}: expected {expected} of at least {lowest}")
    return tuple(n if isinstance(n, (int, SymInt)) else int(n) for n in value)  # type: ignore[misc] # SymInt counts as int
