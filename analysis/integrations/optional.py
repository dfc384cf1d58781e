"""Packages that only some users have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["optional"]


@contextmanager
def optional(package: str, *, extra: str) -> Iterator[None]:
    """Around the import of a package: if it is not installed, the error says how to install it.

    Raises:
        ModuleNotFoundError: `package` is missing. A module missing inside of it is reported as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        message = f"the package {package!r} is not installed: pip install 'dynpool[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from None
