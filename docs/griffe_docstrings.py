"""For mkdocstrings: what docstrings say in the forms of doctest and Sphinx, in those of the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|attr):`[.~]*([\w.]+)`")


class Docstrings(griffe.Extension):
    """Shows examples as code, and roles such as :func:`name` as names."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring is not None:
            text = obj.docstring.value.replace("Example:\n", "Examples:\n")
            obj.docstring.value = ROLE.sub(r"`\1`", text)
