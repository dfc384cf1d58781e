"""Values that a model's code reads off its tensors: a pass without data has none, so one is assumed and told.

`bool(x.max() > 2)`, `x.item()`, `int(n)` decide which layers run, or how often. Where something holds for any or all
elements it is taken to hold, so that everything behind is executed; a number is taken to be 1.
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
    """What a pass assumed of the values that the model's code read.

    Args:
        compared: what a comparison of single numbers is taken to give.

    Attributes:
        assumed: what was assumed, by the lines of the model's code that read it.
        doubtful: whether a comparison was read, that could be assumed otherwise.
    """

    def __init__(self, *, compared: bool) -> None:
        self.compared = compared
        self.assumed: dict[str, str] = {}
        self.doubtful = False
        self._results: dict[int, Tensor] = {}  # of comparisons, which live as long as this does

    def note(self, name: str, out: Any) -> None:
        """Take note of the result of an operation, given by the name of its schema."""
        if name in _COMPARISONS and isinstance(out, Tensor) and out.numel() == 1:
            self._results[id(out)] = out

    def read(self, x: Tensor) -> bool | int | float:
        """The value of a tensor of one entry that holds none."""
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
        """A sentence for every line that read a value."""
        return [
            f"{line} reads a value that depends on the data: {value} was assumed"
            for line, value in self.assumed.items()
        ]


def _line() -> str:
    """The innermost line of code that is neither PyTorch's nor this library's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_TORCH, _HERE, "<")):
        frame = frame.f_back
    path, number = frame.f_code.co_filename, frame.f_lineno
    return f"line {number} of {Path(path).name} ({linecache.getline(path, number).strip()})"
