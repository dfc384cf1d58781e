"""Packages whose public names are imported on first use, so that importing the package costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["lazy_package"]


class _LazyPackage(ModuleType):
    """A package in which no submodule takes the place of the public name it shares, such as `dynpool.convert`."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in self.__dict__.get("_homes", ())):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        homes: Mapping[str, str] = self.__dict__.get("_homes", {})
        if name in homes:
            value = getattr(import_module(f"{self.__name__}.{homes[name]}"), name)
            super().__setattr__(name, value)
            return value
        if not name.startswith("_") and find_spec(f"{self.__name__}.{name}") is not None:
            return import_module(f"{self.__name__}.{name}")
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__.get("_homes", ())})


def lazy_package(package: str, names: Mapping[str, str]) -> None:
    """Make the public names of a package attributes that are imported when they are first asked for.

    Submodules are attributes too. Where one has the name of a function, the attribute is the function, in whatever
    order things are imported.

    Args:
        package: its `__name__`; called by the package itself, whose static imports are for type checkers only.
        names: {submodule: the public names it defines, separated by spaces}.
    """
    module = sys.modules[package]
    module.__dict__["_homes"] = {name: home for home, listed in names.items() for name in listed.split()}
    module.__class__ = _LazyPackage
