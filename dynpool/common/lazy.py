"""Lazy imports: public names of a package are imported on first use, so importing the package is fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .extras import optional

__all__ = ["lazy_names"]


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose public names are imported on first use.

    Submodules are available as attributes too.

    Args:
        package: `__name__` of the package; its static imports are for type checkers only.
        names: {submodule: the public names it defines, separated by spaces}.
    """
    homes = {name: home for home, listed in names.items() for name in listed.split()}
    contents = vars(sys.modules[package])

    def attribute(name: str) -> Any:
        if name in homes:
            with optional():
                value = contents[name] = getattr(import_module(f"{package}.{homes[name]}"), name)
            return value
        if not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])

    return attribute, lambda: sorted({*contents, *homes})
