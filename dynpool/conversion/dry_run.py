"""Finds the learned sizes at which a converted model runs, with limits that the trace of the original cannot show.

A model's own code may read the size of a map before it is resized, require the size it was built for, or need a minimum
size for a later unpadded convolution, pool or reflection. Passes on meta tensors find these limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dynpool.graph import RETURNS, Shape, Shapes, Survey, TraceError, trace_shapes
from dynpool.resolution import ResolutionTree
from dynpool.size_math import Size, round_to_multiple

__all__ = ["Limits", "find_limits"]

_BATCH = 3  # images, to distinguish the batch of an output from other dimensions


@dataclass
class Limits:
    """The sizes in pixels of one learned resolution at which the model runs, per axis.

    None is no limit on that side. `why` says what happens beyond the limits.
    """

    lowest: list[int | None]
    highest: list[int | None]
    why: str = ""

    @property
    def fixed_axes(self) -> tuple[bool, ...]:
        """Whether each axis can have only one size."""
        return tuple(n is not None and n == m for n, m in zip(self.lowest, self.highest, strict=True))

    @property
    def fixed(self) -> bool:
        return all(self.fixed_axes)


def find_limits(survey: Survey, tree: ResolutionTree, *, training: bool = False) -> dict[int, Limits]:
    """The limits of the learned resolutions that have any, by their index in the tree.

    This takes two passes if every size is possible, else a few more for each resolution.

    Args:
        survey: a survey of a converted model at its original sizes; the model is not changed.
        tree: its resolutions.
        training: run in training mode too.
    """
    trial = _Trial(survey, tree, training)
    trial.move()
    if not any(limits.fixed for limits in trial.found.values()):  # else they are pinned first
        trial.shrink()
    return trial.found


class _Trial:
    def __init__(self, survey: Survey, tree: ResolutionTree, training: bool) -> None:
        self.survey, self.tree = survey, tree
        start = tree.sizes_at(tree.input_size[1:])
        self.axes = len(tree.input_size) - 1
        self.start = {i: start[i] for i, _, _ in tree.learned}
        self.steps = {i: rule.multiple for i, rule, _ in tree.learned}
        self.modes = sorted({False, training})
        self.at_start: dict[bool, tuple[int | None, tuple[Shape, ...]]] = {}  # by mode, with the batch that runs
        self.found: dict[int, Limits] = {}

    def limits(self, i: int, why: str) -> Limits:
        return self.found.setdefault(i, Limits([None] * self.axes, [None] * self.axes, why))

    def moved(self, i: int, axis: int, *, up: bool) -> int | None:
        """Another size of an axis, at least one step of its multiple away; None if there is none."""
        n, step = self.start[i][axis], self.steps[i][axis]
        if up:
            return max(round_to_multiple(round(n * (1.2 + 0.25 * axis)), step), n + step)
        lower = min(round_to_multiple(round(n * (0.8 - 0.1 * axis)), step), n - step)
        return lower if lower >= 2 else None

    def move(self) -> None:
        """Find the axes that cannot become larger, and those that cannot have another size at all."""
        larger = {
            i: tuple(self.moved(i, axis, up=True) or n for axis, n in enumerate(size)) for i, size in self.start.items()
        }
        if self.failure(larger) is None:
            return
        known = dict(self.start)
        for i in known:
            if self.failure({**known, i: larger[i]}) is None:
                known[i] = larger[i]
                continue
            for axis in range(self.axes):
                start = self.start[i][axis]
                why = self.failure({**known, i: _with(known[i], axis, larger[i][axis])})
                if why is None:
                    known[i] = _with(known[i], axis, larger[i][axis])
                    continue
                lower = self.moved(i, axis, up=False)
                limits = self.limits(i, why)
                limits.highest[axis] = start
                if lower is None or self.failure({**known, i: _with(known[i], axis, lower)}) is not None:
                    limits.lowest[axis] = start

    def shrink(self) -> None:
        """Find the lowest sizes of all resolutions together."""
        known = dict(self.start)
        least = {i: self.least(i) for i in known}
        if self.failure(least) is None:
            return
        for i, size in least.items():
            why = self.failure({**known, i: size})
            if why is None:
                known[i] = size
                continue
            limits = self.limits(i, why)
            each = tuple(range(self.axes))  # most windows are square: lower all axes together first, then each
            for axes in dict.fromkeys((each, *((axis,) for axis in each))):
                known[i] = self.shrunk(known, i, size, axes)
            limits.lowest = [n if n > m else None for n, m in zip(known[i], size, strict=True)]

    def shrunk(self, known: Mapping[int, Size], i: int, least: Size, axes: Sequence[int]) -> Size:
        """The smallest size of a resolution at which the model runs, reducing the given axes."""
        start, steps = known[i], self.steps[i]
        most = max((start[axis] - least[axis]) // steps[axis] for axis in axes)

        def size(k: int) -> Size:
            found = enumerate(zip(start, steps, least, strict=True))
            return tuple(max(n - k * s, m) if axis in axes else n for axis, (n, s, m) in found)

        runs, fails, ahead = 0, most + 1, 1
        while fails - runs > 1:
            k = (runs + fails) // 2 if len(axes) == self.axes else min(runs + ahead, fails - 1)
            failed = self.failure({**known, i: size(k)})
            if failed is None:
                runs, ahead = k, 2 * ahead
            else:
                fails, ahead, self.found[i].why = k, 1, failed
        return size(runs)

    def least(self, i: int) -> Size:
        """The smallest size that a resolution could have; an axis that has only one size keeps it."""
        axes = zip(self.start[i], self.steps[i], self.fixed_axes(i), strict=True)
        return tuple(n if fixed else min(n, -(-2 // m) * m) for n, m, fixed in axes)

    def fixed_axes(self, i: int) -> tuple[bool, ...]:
        return self.found[i].fixed_axes if i in self.found else (False,) * self.axes

    def returns(self, training: bool, batch: int | None, sizes: Mapping[int, Size]) -> tuple[Shape, ...]:
        if sizes is self.start and batch is None and not training:
            shapes: Shapes = self.survey.at_input_size.returns
        else:
            with self.tree.overriding(sizes):
                shapes = trace_shapes(self.survey.model, self.survey.input_size, training=training, batch=batch)
        return shapes["", 0, RETURNS, 0][1]

    def started(self, mode: bool) -> tuple[int | None, tuple[Shape, ...]]:
        """The number of images of a pass at the original sizes (None: the default), and the outputs of the pass."""
        if mode not in self.at_start:
            try:
                self.at_start[mode] = (_BATCH, self.returns(mode, _BATCH, self.start))
            except ValueError:  # built for another batch size
                self.at_start[mode] = (None, self.returns(mode, None, self.start))
        return self.at_start[mode]

    def failure(self, sizes: Mapping[int, Size]) -> str | None:
        """The error of a pass with the given learned sizes; None if the model runs as before."""
        return next(filter(None, (self.failure_in(mode, sizes) for mode in self.modes)), None)

    def failure_in(self, mode: bool, sizes: Mapping[int, Size]) -> str | None:
        if mode not in self.at_start:  # most models return a result per image, and need no pass at their original sizes
            with suppress(ValueError):
                if all(shape[:1] == (_BATCH,) for shape in self.returns(mode, _BATCH, sizes)):
                    return None
        batch, before = self.started(mode)
        try:
            now = self.returns(mode, batch, sizes)
        except ValueError as error:
            first = (error.reason if isinstance(error, TraceError) else str(error)).partition("\n")[0]
            return f"the model does not run at other sizes of it: {first}"
        for a, b in zip(before, now, strict=False):
            if batch is not None and a[:1] == (batch,) != b[:1]:
                return f"at other sizes of it the model gives {b[0] if b else 'no'} results for {batch} images"
        return None


def _with(size: Size, axis: int, n: int) -> Size:
    return (*size[:axis], n, *size[axis + 1 :])
