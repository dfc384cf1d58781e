"""The sizes of a pass: from the model's input, or from the input of a part that runs on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from dynpool.size_math import Size

__all__ = ["KnownSizes"]

_REMEMBERED = 8  # input sizes, such as those of the crops of one step
_LARGEST = 1 << 14  # largest input considered, in pixels


class SizesAt(Protocol):
    """The size in pixels of every resolution for an input of `hw` pixels, with some sizes given."""

    def __call__(self, hw: Size, *, given: Mapping[int, Size]) -> list[Size]: ...


@dataclass(frozen=True)
class Sizes:
    """The sizes in pixels of all resolutions, None if unknown; and of the input, if known."""

    of: Sequence[Size | None]
    input: Size | None = None


class KnownSizes:
    """A cache of the sizes for one set of alphas.

    The size of a map inside the network determines the sizes of what is resized from it. As sizes grow with the input,
    it also gives a range of possible input sizes; other sizes are known if they agree at both ends of the range.

    Args:
        sizes_at: the arithmetic of the tree; resolution 0 is the input.
        exact: whether the size of a resolution follows from its parent's size in whole pixels.
        hw: initial size of the input in pixels, (height, width) or as many numbers as it has axes.
    """

    def __init__(self, sizes_at: SizesAt, *, exact: bool, hw: Size) -> None:
        self._sizes_at, self._exact = sizes_at, exact
        self._whole: dict[Size, Sizes] = {}  # by the input's size, the latest last
        self._inside: dict[tuple[int, Size], Sizes] = {}
        self.now = self.whole(hw)

    def whole(self, hw: Size) -> Sizes:
        """The sizes of a pass of the whole model."""
        found = self._whole.pop(hw, None) or Sizes(self._sizes_at(hw, given={}), hw)
        self._whole[hw] = found
        if len(self._whole) > _REMEMBERED:
            del self._whole[next(iter(self._whole))]
        self.now = found
        return found

    def part(self, source: int | None, size: Size, target: int) -> Size:
        """The size of resolution `target`, given a map of `size` pixels at resolution `source`.

        The sizes of the last pass, or of an earlier one, are used if they fit that map. During backward a part may be
        recomputed for any of these passes (activation checkpointing), so all that fit must agree.

        Raises:
            RuntimeError: if the map does not determine the size.
        """
        fitting = [s for s in (self.now, *reversed(self._whole.values())) if s.of[target] is not None]
        known = [s for s in fitting if source is not None and s.of[source] == size]
        if not known and source is not None:
            known = [self.whole(size) if source == 0 else self._from_inside(source, size)]
        in_backward = torch._C._current_graph_task_id() != -1
        answers = {s.of[target] for s in (known if in_backward else known[:1])}
        answer = answers.pop() if len(answers) == 1 else None
        if answer is None:
            raise RuntimeError(
                "a part of a converted model runs by itself, and the size to which it must resize its map of "
                f"{'x'.join(map(str, size))} pixels is ambiguous, as several sizes of the model's input lead to such a "
                "map: run the whole model, or a part that begins at its input"
            )
        self.now = known[0]
        return answer

    def _from_inside(self, source: int, size: Size) -> Sizes:
        if (source, size) not in self._inside:
            self._inside[source, size] = self._find(source, size)
        return self._inside[source, size]

    def _find(self, source: int, size: Size) -> Sizes:
        low, high = zip(*(self._inputs(source, size, axis) for axis in range(len(size))), strict=True)
        if not self._exact:
            return self.whole(low) if low == high else Sizes([None] * len(self.now.of))
        ends = [self._sizes_at(hw, given={source: size}) for hw in (low, high)]
        return Sizes([a if a == b else None for a, b in zip(*ends, strict=True)])

    def _inputs(self, source: int, size: Size, axis: int) -> Size:
        """The smallest and largest input along an axis that give a resolution this size; any input if none does."""

        def at(n: int) -> int:
            try:
                return self._sizes_at((n,) * len(size), given={})[source][axis]
            except ValueError:  # the input is too small for unchanged layers
                return 0

        first = _first(lambda n: at(n) >= size[axis])
        beyond = _first(lambda n: at(n) > size[axis])
        return (first, beyond - 1) if first < beyond else (1, _LARGEST)


def _first(holds: Callable[[int], bool]) -> int:
    """The smallest number of pixels for which a monotone condition holds."""
    low, high = 1, _LARGEST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
