"""A method of a comparison with the settings that it is trained at."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["GridPoint"]


@dataclass(frozen=True)
class GridPoint:
    """One grid point of a comparison: a method, and the values of the keys that it sets differently.

    Attributes:
        method: the method.
        values: {key: value}, keys with dots for sections.
        varied: the keys that have several values, which distinguish the method's points.
    """

    method: str
    values: Mapping[str, Any] = field(default_factory=dict)
    varied: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The varied keys and values as text, e.g. 'gmacs_budget=0.001'; empty if there is only one point."""
        return " ".join(self._settings())

    @property
    def group(self) -> str:
        """The method and the label: the name that the report gives to its runs of all seeds."""
        return f"{self.method} {self.label}".rstrip()

    def _settings(self) -> list[str]:
        """The varied keys and values as words without spaces."""
        return [f"{key}={_word(self.values[key])}" for key in self.varied]

    def name(self, seed: int) -> str:
        """The name of the run and of its folder."""
        parts = [self.method, *self._settings(), f"seed{seed}"]
        return re.sub(r"[^\w.=+-]+", "_", "-".join(parts))


def _word(value: Any) -> str:
    """A value of a grid as text without spaces: 'match:dynopool' for {'match': 'dynopool'}, '[1,2]' for [1, 2]."""
    if isinstance(value, list):
        return f"[{','.join(map(_word, value))}]"
    if not isinstance(value, Mapping):
        return str(value)
    shown = {key: "x".join(map(str, item)) if isinstance(item, (list, tuple)) else item for key, item in value.items()}
    return ",".join(f"{key}:{item}" for key, item in shown.items())
