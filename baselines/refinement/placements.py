"""Where a network downsamples and where else it could: sets of layers whose strides can only change together.

Read a trace in which every window opens axis classes of its own as a graph: classes are its vertices, windows its
edges. If maps are to keep meeting at one size, a stride can change only for all edges that lead into a part of the
graph with no way out: a cut. An identity shortcut closes a cycle, so that no cut runs through its block; a
projection shortcut is one more edge of the block's cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dynpool.analysis.fields.stride_program import StrideProgram
from dynpool.graph.axes import Resize
from dynpool.graph.ir import Graph

__all__ = ["Cut", "Placements", "find_placements", "stride_of"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """Windows by their row in `StrideProgram.windows`, what lies behind them, and the stride all have in common."""

    rows: tuple[int, ...]
    behind: frozenset[Pair]
    factor: Pair


@dataclass(frozen=True)
class Placements:
    """`steps` downsample now; `places` could, in order of execution; `refused` says why other steps must stay."""

    steps: tuple[Cut, ...]
    places: tuple[Cut, ...]
    refused: Mapping[str, str]


def find_placements(model: nn.Module, program: StrideProgram) -> Placements:
    """All downsampling steps of a traced model, and the places that a step can move to.

    A place needs a layer of stride 1 whose window is larger than one pixel: where only 1x1 windows strode, three
    quarters of the map would be thrown away.
    """
    modules = dict(model.named_modules())
    steps: list[Cut] = []
    refused: dict[str, str] = {}
    for cut in _cuts(program, through_strides_of_one=False):
        members = [program.windows[row] for row in cut.rows]
        why = _first_refusal(modules, program, members)
        if cut.factor != (1, 1) and why:
            refused[members[0].path or members[0].kind] = why
        elif cut.factor != (1, 1):
            steps.append(cut)
    movable = {row for cut in steps for row in cut.rows}
    for row, window in enumerate(program.windows):
        if window.stride != (1, 1) and row not in movable:
            refused.setdefault(window.path or window.kind, _why_it_stays(program, window))
    places = []
    for cut in _cuts(program, through_strides_of_one=True):
        members = [program.windows[row] for row in cut.rows]
        slides = any(m.stride == (1, 1) and min(m.kernel) > 1 for m in members)
        if cut.factor == (1, 1) and slides and not _first_refusal(modules, program, members):
            places.append(cut)
    return Placements(tuple(steps), tuple(places), refused)


def stride_of(module: nn.Module) -> Pair | None:
    """The stride a module says it has, as (height, width), or None if it says nothing of the kind."""
    stride = getattr(module, "stride", None)
    if isinstance(stride, int):
        return (stride, stride)
    if isinstance(stride, Sequence) and stride and all(isinstance(s, int) for s in stride):
        return (stride[0], stride[-1])
    return None


def _first_refusal(modules: Mapping[str, nn.Module], program: StrideProgram, members: Sequence[Resize]) -> str:
    return next((why for why in (_refusal(modules, program, m) for m in members) if why), "")


def _refusal(modules: Mapping[str, nn.Module], program: StrideProgram, window: Resize) -> str:
    """Why the stride of a window cannot be set on its module, or nothing."""
    module = modules[window.path]
    if window.stride != stride_of(module):
        return f"{window.kind} is called in {type(module).__name__}, not by a module with that stride"
    if program.graph.calls.get(window.path, 0) != 1 or sum(w.path == window.path for w in program.windows) != 1:
        return f"{window.path} runs more than once in a pass"
    if getattr(module, "return_indices", False):
        return f"the indices of {window.path} are used"
    return ""


def _why_it_stays(program: StrideProgram, window: Resize) -> str:
    """Why no cut runs through a window that strides."""
    a, b = _key(program.graph, window.source), _key(program.graph, window.target)
    if a is None or b is None:
        return "its map is cut up or reshaped on its way, so that its size is not known to follow from the image's"
    if a in _reachable(b, _following(program, through_strides_of_one=False)):
        return "its map is upsampled, and meets the one that it is made from"
    return "its map meets others that come by another stride or an upsampling"


def _cuts(program: StrideProgram, *, through_strides_of_one: bool) -> Iterator[Cut]:
    """The smallest cut in front of each axis class, in order of execution.

    Without `through_strides_of_one`, only layers with a stride may be cut through: what layers of stride 1 connect is
    on one side.
    """
    graph = program.graph
    edges = _edges(program)
    following = _following(program, through_strides_of_one=through_strides_of_one)
    start = _key(graph, tuple(d.axis for d in graph.dims(graph.input_id)[-2:]))
    found: set[tuple[int, ...]] = set()
    for vertex in dict.fromkeys(b for _, _, b in edges):
        behind = _reachable(vertex, following)
        crossing = [row for row, a, b in edges if b in behind and a not in behind]
        rows = tuple(row for row in crossing if row is not None)
        if start in behind or not rows or rows in found or len(rows) < len(crossing):
            continue  # an upsampling that crosses would have to upsample by another factor
        found.add(rows)
        h, w = (math.gcd(*(program.windows[row].stride[axis] for row in rows)) for axis in (0, 1))
        yield Cut(rows, behind, (h, w))


def _edges(program: StrideProgram) -> list[tuple[int | None, Pair, Pair]]:
    """What resizes, as its row among the windows (None: an upsampling), the class before and the one behind."""
    graph = program.graph
    return [
        (program.row.get(resize.node), a, b)
        for resize in graph.resizes
        if (a := _key(graph, resize.source)) is not None and (b := _key(graph, resize.target)) is not None
    ]


def _following(program: StrideProgram, *, through_strides_of_one: bool) -> Mapping[Pair, set[Pair]]:
    """By class, the classes right behind it; for classes that a stride of one connects, both ways if so asked."""
    following: dict[Pair, set[Pair]] = {}
    for row, a, b in _edges(program):
        following.setdefault(a, set()).add(b)
        if not through_strides_of_one and row is not None and program.windows[row].stride == (1, 1):
            following.setdefault(b, set()).add(a)
    return following


def _key(graph: Graph, axes: Sequence[int | None]) -> Pair | None:
    """A resolution by its classes of height and width; one that is a multiple of another counts as that."""
    h, w = axes
    return None if h is None or w is None else (graph.classes.base(h)[0], graph.classes.base(w)[0])


def _reachable(vertex: Pair, following: Mapping[Pair, set[Pair]]) -> frozenset[Pair]:
    seen = {vertex}
    ahead = [vertex]
    while ahead:
        new = following.get(ahead.pop(), set()) - seen
        seen |= new
        ahead += new
    return frozenset(seen)
