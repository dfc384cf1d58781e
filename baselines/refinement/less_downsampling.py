"""Less downsampling: fewer, weaker or later strides, found by search and proven by a pass of the refined model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from dynpool.analysis.fields.compile import compile_fields
from dynpool.analysis.fields.stride_program import StrideProgram
from dynpool.graph.axes import Resize
from dynpool.graph.ir import Graph
from dynpool.graph.tracer import trace

from .figures import Figures, Found, Size, measure
from .layer_changes import LayerChange
from .placements import Placements, find_placements
from .plan import Edit, apply_edits
from .stride_search import Candidate, Option, StrideSearch

__all__ = ["less_downsampling", "uncollapsed"]

Ints = npt.NDArray[np.int64]

_PASSES = 8  # passes of refined models that are compared for one number of edits
_FAILURES = 40  # those that may fail before it is given up
_DOUBLINGS = 5


def less_downsampling(model: nn.Module, graph: Graph, before: Figures) -> Found:
    """Edits of strides that bring I_min below I_res, by the criteria of `refine`, or why there are none."""
    size = graph.input_size
    i_res = (size[1], size[2])
    graph = uncollapsed(model, graph)
    program = StrideProgram(graph, compile_fields(graph), i_res)
    placements = find_placements(model, program)
    if not placements.steps:
        return Found((), before, "no stride of the model can be changed", placements.refused)
    search = StrideSearch(program, placements, i_res)
    lowest = search.lowest()
    if not (lowest[0] < size[1] and lowest[1] < size[2]):
        count = len(placements.steps)
        why = f"with all {count} downsamplings removed that can be, I_min is still {lowest[0]:g}x{lowest[1]:g}"
        return Found((), before, why, placements.refused)
    trials = _Trials(model, size, search, placements)
    for candidates in search.levels():
        found = trials.best(candidates)
        if found is not None:
            return found
    why = "; ".join(trials.problems) or "no choice of strides that the layers can take leads there"
    return Found((), before, why, placements.refused)


def uncollapsed(model: nn.Module, graph: Graph) -> Graph:
    """A trace with every window, as `graph` is, at the first double of its size where no map collapses to a pixel."""
    for _ in range(_DOUBLINGS):
        if not any(_collapses(resize) for resize in graph.resizes):
            break
        channels, height, width = graph.input_size
        try:
            graph = trace(model, (channels, 2 * height, 2 * width), every_window=True)
        except ValueError:  # a model of certain sizes only: there is no better trace than the last
            break
    return graph


def _collapses(resize: Resize) -> bool:
    """Whether a window leaves one pixel of more; a stride-1 window over the whole map is a linear layer instead."""
    linear = resize.in_size == resize.kernel and resize.stride == (1, 1)
    return not resize.fixed and not linear and 1 in resize.out_size and max(resize.in_size) > 1


class _Trials:
    """Passes of refined models: what candidates really come to, which of them do not run, and why."""

    def __init__(self, model: nn.Module, size: Size, search: StrideSearch, placements: Placements) -> None:
        self.model, self.size, self.search, self.placements = model, size, search, placements
        self.problems: dict[str, None] = {}

    def best(self, candidates: Sequence[Candidate]) -> Found | None:
        """The best by the figures of a pass; a doubtful one only where all others fail."""
        best: tuple[float, float, Found] | None = None
        passes = failures = 0
        for candidate in candidates:
            if any(option not in self.search.choices[option.step] for option in candidate.options):
                continue  # one of them broke the model by itself
            predicted = (self.search.gap(candidate.i_min), candidate.macs / 1e9)
            settled = best is not None and (candidate.doubtful or best[:2] <= predicted)
            if settled or passes == _PASSES or failures == _FAILURES:
                break
            figures = self.run(candidate.options, candidate.strides)
            if figures is None:
                failures += 1
                self.blame(candidate)
                continue
            if not figures.fits(self.size):
                failures += 1
                self.problems[
                    f"{self.named(candidate.options)}: I_min is {figures.i_min[0]:g}x{figures.i_min[1]:g}"
                ] = None
                continue
            passes += 1
            if best is None or (self.search.gap(figures.i_min), figures.gmacs) < best[:2]:
                edits = self.edits(candidate.options, candidate.strides)
                best = (self.search.gap(figures.i_min), figures.gmacs, Found(edits, figures))
        return None if best is None else best[2]

    def run(self, options: Sequence[Option], strides: Ints) -> Figures | None:
        """The figures with these edits, or None and one more problem if the model does not run so."""
        try:
            return measure(apply_edits(self.model, self.edits(options, strides)), self.size)
        except ValueError as error:
            self.problems[f"{self.named(options)}: {error}"] = None
            return None

    def blame(self, candidate: Candidate) -> None:
        """Find out which options break the model by themselves, so that no other candidate is tried with them."""
        alone = len(candidate.options) == 1
        for option in candidate.options:
            if alone or self.run([option], self.search.alone(option)) is None:
                self.search.drop(option)

    def named(self, options: Sequence[Option]) -> str:
        windows, steps = self.search.program.windows, self.placements.steps
        return ", ".join(f"{_what(o)} {windows[steps[o.step].rows[0]].path}" for o in options)

    def edits(self, options: Sequence[Option], strides: Ints) -> tuple[Edit, ...]:
        """Edits with the strides that the windows of each have in the end."""
        edits = []
        told: set[int] = set()
        for option in options:
            rows = list(self.placements.steps[option.step].rows)
            if option.place is not None:
                rows += self.placements.places[option.place].rows
            changes = []
            for row in dict.fromkeys(rows):
                window, (h, w) = self.search.program.windows[row], strides[row]
                if row not in told and (h, w) != window.stride:
                    changes.append(LayerChange(window.path, "stride", window.stride, (int(h), int(w))))
            told |= set(rows)
            edits.append(Edit(_what(option), tuple(changes)))
        return tuple(edits)


def _what(option: Option) -> str:
    return "moved" if option.place is not None else "removed" if option.left == (1, 1) else "weakened"
