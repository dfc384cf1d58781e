"""A dimension of a tensor as a product of atoms, each a plain number or an axis.

So a view that flattens (H, W) to tokens and back preserves both axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Atom", "Dim", "constant_dims"]


@dataclass(frozen=True)
class Atom:
    """A factor of a dimension: `size` at tracing, and the axis class it belongs to (None: a plain number).

    `other` is its size in the second trace, with a larger input; None without a second trace.
    """

    size: int
    axis: int | None = None
    other: int | None = None

    @property
    def constant(self) -> bool:
        """Whether it is known to have the same size for every input."""
        return self.axis is None and self.other in (None, self.size)


@dataclass(frozen=True)
class Dim:
    """A dimension of a tensor as the product of its atoms, outermost first; no atoms is size 1."""

    atoms: tuple[Atom, ...] = ()

    @property
    def size(self) -> int:
        return math.prod(a.size for a in self.atoms)

    @property
    def other(self) -> int | None:
        """Size in the second trace, or None."""
        known = [a.other for a in self.atoms if a.other is not None]
        return math.prod(known) if len(known) == len(self.atoms) else None

    @property
    def axis(self) -> int | None:
        """The axis class if the dimension is exactly one axis."""
        return self.atoms[0].axis if len(self.atoms) == 1 else None

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(a.axis for a in self.atoms if a.axis is not None)


def constant_dims(shape: Sequence[int], others: Sequence[int] | None = None) -> tuple[Dim, ...]:
    """Dimensions that carry no resolution; `others` are their sizes in the second trace."""
    in_other: list[int | None] = [None] * len(shape) if others is None else list(others)
    return tuple(
        Dim((Atom(int(n), None, m),)) if n != 1 or m not in (None, 1) else Dim()
        for n, m in zip(shape, in_other, strict=True)
    )
