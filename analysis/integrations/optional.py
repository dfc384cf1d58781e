"""Imports of optional packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["optional"]


@contextmanager
def optional(package: str, *, extra: str) -> Iterator[None]:
    """A context for importing an optional package: if it is missing, the error says how to install it.

    Raises:
        ModuleNotFoundError: if `package` is missing. The error of a module missing inside it is passed on unchanged.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        message = f"the package {package!r} is not installed: pip install 'dynpool[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from None
