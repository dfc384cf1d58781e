"""Search for the fewest changes of downsampling that bring I_min below the input's resolution."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dynpool.analysis.fields import Outcome, StrideProgram
from dynpool.size_math import PerAxis, Size

from .placements import Placements

__all__ = ["Candidate", "Option", "StrideSearch"]

Ints = npt.NDArray[np.int64]
Subset = tuple[int, ...]  # steps by index

_SUBSETS = 2000  # sets of steps kept for each number of edits; enough for all sets of up to twelve steps
_CANDIDATES = 8000  # the most combinations that are all evaluated; if there are more, edits are improved in turn
_PART = 512  # combinations evaluated at a time
_STARTS = 16  # sets of steps from which edits are improved in turn


@dataclass(frozen=True)
class Option:
    """One possible edit of a downsampling step: the stride `left` of it, and the target that takes over the rest."""

    step: int
    left: Size
    target: int | None = None


@dataclass(frozen=True)
class Candidate:
    """Edits with their predicted figures; `doubtful` if the sizes of combined maps may no longer agree."""

    options: tuple[Option, ...]
    strides: Ints  # of all windows, (windows, axes)
    i_min: PerAxis
    macs: float
    doubtful: bool


class StrideSearch:
    """Candidates in the order of the criteria: fewest edits, I_min closest below I_res, fewest MACs.

    An edit removes a downsampling, weakens it, or moves it to a later target. r_min never falls when a stride grows, so
    a set of steps can be skipped if removing all of them is not sufficient. The smallest number of edits is therefore
    guaranteed to be found unless there are too many sets to look at.

    Args:
        program: computes I_min and MACs for given strides.
        placements: steps and targets of the same model.
        i_res: (H, W) in pixels, or other axes, which I_min must be below along all axes.
    """

    def __init__(self, program: StrideProgram, placements: Placements, i_res: Size) -> None:
        self.program, self.placements, self.i_res = program, placements, np.array(i_res)
        self.choices = [list(self._options(step)) for step in range(len(placements.steps))]

    def lowest(self) -> PerAxis:
        """A lower bound of I_min over all edits: I_min with every step removed."""
        return tuple(map(float, self._bounds([self._open_steps()])[0]))

    def alone(self, option: Option) -> Ints:
        """The strides of all windows, (windows, axes), with a single edit."""
        return self._strides([(option,)])[0]

    def drop(self, option: Option) -> None:
        """Exclude an option from all later candidates."""
        self.choices[option.step] = [o for o in self.choices[option.step] if o != option]

    def levels(self) -> Iterator[list[Candidate]]:
        """For 1, 2, ... edits, the candidates with I_min < I_res, best first and doubtful ones last."""
        subsets: list[Subset] = [()]
        while subsets and (np.array(self.lowest()) < self.i_res).all():
            steps = self._open_steps()
            grown = sorted(
                {tuple(sorted({*s, i})) for s in subsets for i in steps if i not in s and set(s) <= set(steps)}
            )
            subsets = [
                s for s in grown if self._strides([self._removed(s)]).all()
            ]  # cuts with common layers exclude each other
            bounds = self._bounds(subsets)
            order = np.argsort((bounds / self.i_res).max(axis=1), kind="stable")[:_SUBSETS]
            subsets = [subsets[i] for i in order]
            yield self._ranked(
                self._combinations([s for s, b in zip(subsets, bounds[order], strict=True) if (b < self.i_res).all()])
            )

    def _open_steps(self) -> Subset:
        return tuple(step for step, options in enumerate(self.choices) if options)

    # -- options and their strides --

    def _options(self, index: int) -> Iterator[Option]:
        """All edits of one step. Axes change separately only if the input does not have the same size along all."""
        step = self.placements.steps[index]
        whole, none = step.factor, (1,) * len(step.factor)
        left: dict[Size, None]
        if len(set(self.i_res.tolist())) == 1:
            left = dict.fromkeys(tuple(min(n, s) for s in whole) for n in range(1, max(whole)))
            taken: list[Size] = [none]
        else:
            left = dict.fromkeys(p for p in itertools.product(*(range(1, s + 1) for s in whole)) if p != whole)
            taken = [p for p in dict.fromkeys(itertools.product(*((1, s) for s in whole))) if p != whole]
        yield from (Option(index, p) for p in left)
        for number, target in enumerate(self.placements.targets):
            if target.downstream < step.downstream:
                yield from (Option(index, p, number) for p in taken)

    def _strides(self, combinations: Sequence[Sequence[Option]]) -> Ints:
        """The strides of all windows for each combination, (combinations, windows, axes); 0 marks impossible edits."""
        steps, targets = self.placements.steps, self.placements.targets
        strides = np.repeat(self.program.strides[None], len(combinations), axis=0)
        for row, options in zip(strides, combinations, strict=True):
            for option in options:
                members = list(steps[option.step].rows)
                whole, rest = np.divmod(row[members], steps[option.step].factor)
                row[members] = np.where(rest == 0, whole * option.left, 0)
            for option in options:
                if option.target is not None:
                    row[list(targets[option.target].rows)] *= np.floor_divide(steps[option.step].factor, option.left)
        return strides

    def _removed(self, subset: Subset) -> tuple[Option, ...]:
        return tuple(Option(step, (1,) * len(self.i_res)) for step in subset)

    def _bounds(self, subsets: Sequence[Subset]) -> npt.NDArray[np.float64]:
        """For each set of steps, a lower bound of I_min over all edits of these steps, (sets, axes)."""
        parts = []
        for start in range(0, len(subsets), _PART):
            removed = [self._removed(subset) for subset in subsets[start : start + _PART]]
            strides = np.maximum(self._strides(removed), 1)
            parts.append(self.program.evaluate(strides, windows_cover=True).i_min)
        return np.concatenate([*parts, np.empty((0, len(self.i_res)))])

    # -- choosing --

    def _combinations(self, subsets: Sequence[Subset]) -> Sequence[tuple[Option, ...]]:
        count = sum(math.prod(len(self.choices[step]) for step in subset) for subset in subsets)
        if count <= _CANDIDATES:
            return [options for subset in subsets for options in itertools.product(*(self.choices[s] for s in subset))]
        found: dict[tuple[Option, ...], None] = {}
        for subset in subsets[-_STARTS:]:
            found |= dict.fromkeys(self._improved(subset))
        return list(found)

    def _improved(self, subset: Subset) -> Iterator[tuple[Option, ...]]:
        """Combinations from coordinate descent: start with all steps removed, then replace the option of one step at a
        time by the best one until nothing improves."""
        now = self._removed(subset)
        before = None
        while now != before:
            yield now
            before = now
            for at, step in enumerate(subset):
                ranked = self._ranked([(*now[:at], option, *now[at + 1 :]) for option in self.choices[step]])
                if ranked:
                    now = ranked[0].options

    def _ranked(self, combinations: Sequence[tuple[Option, ...]]) -> list[Candidate]:
        found = []
        for start in range(0, len(combinations), _PART):
            part = combinations[start : start + _PART]
            strides = self._strides(part)
            sound = self._sound(part, strides)
            outcome = self.program.evaluate(np.maximum(strides, 1))
            for i in np.flatnonzero((outcome.i_min < self.i_res).all(axis=1) & sound).tolist():
                found.append(_candidate(part[i], strides[i], outcome, i))
        return sorted(found, key=lambda c: (c.doubtful, self.gap(c.i_min), c.macs))

    def gap(self, i_min: Sequence[float]) -> float:
        """The distance of I_min below I_res, in pixels, summed over the axes."""
        return float(sum(self.i_res) - sum(i_min))

    def _sound(self, combinations: Sequence[Sequence[Option]], strides: Ints) -> npt.NDArray[np.bool_]:
        """Whether edits do not overlap, no target is used twice, and no kernel above one pixel newly skips pixels."""
        targets = [[o.target for o in options if o.target is not None] for options in combinations]
        once = np.array([len(set(t)) == len(t) for t in targets])
        windows = self.program.windows
        allowed = np.array(
            [[max(k, s) if k > 1 else max(2, s) for k, s in zip(w.kernel, w.stride, strict=True)] for w in windows]
        )
        return once & ((strides >= 1) & (strides <= allowed)).all(axis=(1, 2))


def _candidate(options: tuple[Option, ...], strides: Ints, outcome: Outcome, i: int) -> Candidate:
    return Candidate(
        options, strides, tuple(map(float, outcome.i_min[i])), float(outcome.macs[i]), not bool(outcome.agrees[i])
    )
