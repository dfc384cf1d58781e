"""Packages that only some of the library needs: an error on a missing one says how to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

__all__ = ["EXTRAS", "optional"]

EXTRAS = MappingProxyType(  # as in pyproject.toml: the smallest extra that has the package, by its import name
    {
        "PIL": "plots",
        "accelerate": "train",
        "curvlinops": "inspect",
        "docstring_parser": "train",
        "jsonargparse": "train",
        "keras": "keras",
        "lightning": "lightning",
        "matplotlib": "plots",
        "pandas": "pandas",
        "pytorch_lightning": "lightning",
        "ray": "ray",
        "rich": "plots",
        "scipy": "train",
        "shtab": "completion",
        "sklearn": "train",
        "threadpoolctl": "train",
        "timm": "timm",
        "torchvision": "timm",
        "transformers": "transformers",
        "yaml": "train",
    }
)


@contextmanager
def optional() -> Iterator[None]:
    """A context for imports of optional packages: if one is missing, the error says how to install it.

    Raises:
        ModuleNotFoundError: if a package of `EXTRAS` is missing. The error of any other module is passed on unchanged.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        message = f"the package {package!r} is not installed: pip install 'dynpool[{EXTRAS[package]}]'"
        raise ModuleNotFoundError(message, name=error.name) from None
