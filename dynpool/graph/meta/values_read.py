"""Values that a model's code reads from its tensors: a pass without data has none, so one is assumed and reported.

`bool(x.max() > 2)`, `x.item()`, `int(n)` decide which layers run, or how often. A condition on any or all elements is
assumed to be true, so that everything after it is executed; a number is assumed to be 1.
"""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["ValuesRead"]

_COMPARISONS = frozenset(f"aten::{name}" for name in "gt lt ge le eq ne isfinite isnan isinf".split())
_HERE = str(Path(__file__).parents[2])
_TORCH = str(Path(torch.__file__).parent)


class ValuesRead:
    """The assumptions of a pass about the values that the model's code read.

    Args:
        compared: the assumed result of a comparison of single numbers.

    Attributes:
        assumed: the assumed values, by the line of the model's code that read them.
        doubtful: whether a comparison was read, whose result could also be the other one.
    """

    def __init__(self, *, compared: bool) -> None:
        self.compared = compared
        self.assumed: dict[str, str] = {}
        self.doubtful = False
        self._results: dict[int, Tensor] = {}  # of comparisons, which live as long as this does

    def note(self, name: str, out: Any) -> None:
        """Record the result of an operation, given by the name of its schema."""
        if name in _COMPARISONS and isinstance(out, Tensor) and out.numel() == 1:
            self._results[id(out)] = out

    def read(self, x: Tensor) -> bool | int | float:
        """The assumed value of a one-element tensor without data."""
        value: bool | int | float = 1
        if x.dtype == torch.bool:
            value = True
            if id(x) in self._results:
                value, self.doubtful = self.compared, True
        elif x.is_floating_point():
            value = 1.0
        self.assumed.setdefault(_line(), repr(value))
        return value

    def notes(self) -> list[str]:
        """One sentence for every line that read a value."""
        return [
            f"{line} reads a value that depends on the data: {value} was assumed"
            for line, value in self.assumed.items()
        ]


def _line() -> str:
    """The innermost line of code outside PyTorch and this library."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_TORCH, _HERE, "<")):
        frame = frame.f_back
    path, number = frame.f_code.co_filename, frame.f_lineno
    return f"line {number} of {Path(path).name} ({linecache.getline(path, number).strip()})"
