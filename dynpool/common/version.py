"""The version of the library; that of the package is in pyproject.toml."""

__version__ = "0.1.0"
