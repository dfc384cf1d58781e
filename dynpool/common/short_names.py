"""`analysis` and `baselines`, the short names of `dynpool.analysis` and `dynpool.baselines`: the same modules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType

__all__ = ["shorten"]


def shorten(name: str) -> None:
    """Let the top-level package `name`, which is being imported, be `dynpool.name`, and its modules those of that."""
    sys.modules[name] = import_module(f"dynpool.{name}")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder, Loader):
    """Imports the modules of a shortened package under their full name, so that each exists once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, inside = fullname.partition(".")
        known = sys.modules.get(package)
        if not inside or known is None or known.__name__ != f"dynpool.{package}":
            return None
        return None if find_spec(f"dynpool.{fullname}") is None else spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"dynpool.{spec.name}")
        spec.loader_state = module.__spec__  # the import system gives the module this spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module has run; its own spec is put back."""
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state
