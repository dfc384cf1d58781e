"""The version of the library; pyproject.toml reads it here."""

__version__ = "0.2.0"
