"""Less downsampling: fewer, smaller or later strides, found by a search and verified by a pass of the refined model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from dynpool.analysis.fields import StrideProgram, compile_fields
from dynpool.graph import Graph, Resize, trace

from .figures import Figures, RefinementResult, measure
from .layer_changes import LayerChange
from .placements import Placements, find_placements
from .plan import Edit, apply_edits
from .stride_search import Candidate, Option, StrideSearch

__all__ = ["less_downsampling", "uncollapsed"]

Ints = npt.NDArray[np.int64]

_PASSES = 8  # candidates with the same number of edits that are compared by a pass
_FAILURES = 40  # failed passes after which no more candidates are tried
_DOUBLINGS = 5


def less_downsampling(model: nn.Module, graph: Graph, before: Figures) -> RefinementResult:
    """The stride edits that bring I_min below I_res, by the criteria of `refine`, or the reason why there are none."""
    given, size = graph, graph.input_size
    i_res = size[1:]
    graph = uncollapsed(model, graph)
    program = StrideProgram(graph, compile_fields(graph), i_res)
    placements = find_placements(model, program)
    if not placements.steps:
        return RefinementResult((), before, "no stride of the model can be changed", placements.refused)
    search = StrideSearch(program, placements, i_res)
    lowest = search.lowest()
    if not all(r < n for r, n in zip(lowest, i_res, strict=True)):
        count = len(placements.steps)
        reason = f"even without any of the {count} removable downsamplings, I_min is {_by(lowest)}"
        return RefinementResult((), before, reason, placements.refused)
    trials = _Trials(model, given, search, placements)
    for candidates in search.levels():
        found = trials.best(candidates)
        if found is not None:
            return found
    reason = "; ".join(trials.problems) or "no combination of strides that the layers can take is sufficient"
    return RefinementResult((), before, reason, placements.refused)


def uncollapsed(model: nn.Module, graph: Graph) -> Graph:
    """A trace like `graph`, with its size doubled until no map collapses to a single pixel."""
    for _ in range(_DOUBLINGS):
        if not any(_collapses(resize) for resize in graph.resizes):
            break
        channels, *extents = graph.input_size
        larger = (channels, *(2 * n for n in extents))
        try:
            graph = trace(model, larger, inputs=graph.example, every_window=True, strict=False)
        except ValueError:  # the model only runs at certain sizes: use the last trace
            break
    return graph


def _collapses(resize: Resize) -> bool:
    """Whether a window reduces several pixels to one, and is not a linear layer (stride 1 over the whole map)."""
    linear = resize.in_size == resize.kernel and set(resize.stride) == {1}
    return not resize.fixed and not linear and 1 in resize.out_size and max(resize.in_size) > 1


class _Trials:
    """Passes of refined models: the actual figures of candidates, and the reasons why some do not run."""

    def __init__(self, model: nn.Module, given: Graph, search: StrideSearch, placements: Placements) -> None:
        self.model, self.given, self.search, self.placements = model, given, search, placements
        self.size = given.input_size
        self.problems: dict[str, None] = {}

    def best(self, candidates: Sequence[Candidate]) -> RefinementResult | None:
        """The best candidate by the figures of its pass; a doubtful one only if all others fail."""
        best: tuple[float, float, RefinementResult] | None = None
        passes = failures = 0
        for candidate in candidates:
            if any(option not in self.search.choices[option.step] for option in candidate.options):
                continue  # one of its options alone breaks the model
            predicted = (self.search.gap(candidate.i_min), candidate.macs / 1e9)
            settled = best is not None and (candidate.doubtful or best[:2] <= predicted)
            if settled or passes == _PASSES or failures == _FAILURES:
                break
            figures = self.run(candidate.options, candidate.strides)
            if figures is None:
                failures += 1
                self.drop_failing_options(candidate)
                continue
            if not figures.fits(self.size):
                failures += 1
                self.problems[f"{self.describe(candidate.options)}: I_min is {_by(figures.i_min)}"] = None
                continue
            passes += 1
            if best is None or (self.search.gap(figures.i_min), figures.gmacs) < best[:2]:
                edits = self.edits(candidate.options, candidate.strides)
                best = (self.search.gap(figures.i_min), figures.gmacs, RefinementResult(edits, figures))
        return None if best is None else best[2]

    def run(self, options: Sequence[Option], strides: Ints) -> Figures | None:
        """The figures with these edits; None, and a new entry in `problems`, if the model does not run."""
        try:
            return measure(apply_edits(self.model, self.edits(options, strides)), self.given)
        except ValueError as error:
            self.problems[f"{self.describe(options)}: {error}"] = None
            return None

    def drop_failing_options(self, candidate: Candidate) -> None:
        """Exclude from the search the options of a failed candidate that break the model on their own."""
        alone = len(candidate.options) == 1
        for option in candidate.options:
            if alone or self.run([option], self.search.alone(option)) is None:
                self.search.drop(option)

    def describe(self, options: Sequence[Option]) -> str:
        """The options as text, such as 'removed layer2.0.conv1'."""
        windows, steps = self.search.program.windows, self.placements.steps
        return ", ".join(f"{_edit_name(o)} {windows[steps[o.step].rows[0]].path}" for o in options)

    def edits(self, options: Sequence[Option], strides: Ints) -> tuple[Edit, ...]:
        """One edit per option, with the final strides of its windows."""
        edits = []
        done: set[int] = set()
        for option in options:
            rows = list(self.placements.steps[option.step].rows)
            if option.target is not None:
                rows += self.placements.targets[option.target].rows
            changes = []
            for row in dict.fromkeys(rows):
                window, stride = self.search.program.windows[row], tuple(map(int, strides[row]))
                if row not in done and stride != window.stride:
                    changes.append(LayerChange(window.path, "stride", window.stride, stride))
            done |= set(rows)
            edits.append(Edit(_edit_name(option), tuple(changes)))
        return tuple(edits)


def _edit_name(option: Option) -> str:
    return "moved" if option.target is not None else "removed" if set(option.left) == {1} else "weakened"


def _by(values: Sequence[float]) -> str:
    return "x".join(f"{value:g}" for value in values)
