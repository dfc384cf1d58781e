"""Where a network downsamples and where else it could: sets of layers whose strides can only change together.

In a trace with `every_window=True` every window has its own axis classes. Take these classes as the vertices of a graph
and the windows as its edges. Maps that are combined must keep equal sizes, so strides can only change along a whole
cut: all edges into a part of the graph that no edge leaves. An identity shortcut closes a cycle, so no cut passes
through its block; a projection shortcut is one more edge of the block's cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dynpool.analysis.fields import StrideProgram
from dynpool.conversion import Key, axes_of
from dynpool.graph import Graph, Resize
from dynpool.size_math import Size

__all__ = ["Cut", "Placements", "find_placements", "stride_of"]


@dataclass(frozen=True)
class Cut:
    """The windows of a cut (rows of `StrideProgram.windows`), the classes after it, and the gcd of its strides."""

    rows: tuple[int, ...]
    downstream: frozenset[Key]
    factor: Size


@dataclass(frozen=True)
class Placements:
    """The cuts that downsample (`steps`) and those that could (`targets`), in order of execution.

    `refused` has the reasons why other strides cannot change, by layer.
    """

    steps: tuple[Cut, ...]
    targets: tuple[Cut, ...]
    refused: Mapping[str, str]


def find_placements(model: nn.Module, program: StrideProgram) -> Placements:
    """All downsampling steps of a traced model, and the targets that a step can move to.

    A target needs a layer of stride 1 with a kernel larger than one pixel: with stride 2, a 1x1 kernel would discard
    three quarters of the map.
    """
    modules = dict(model.named_modules())
    steps: list[Cut] = []
    refused: dict[str, str] = {}
    for cut in _cuts(program, through_strides_of_one=False):
        members = [program.windows[row] for row in cut.rows]
        reason = _first_reason(modules, program, members)
        if set(cut.factor) != {1} and reason:
            refused[members[0].path or members[0].kind] = reason
        elif set(cut.factor) != {1}:
            steps.append(cut)
    movable = {row for cut in steps for row in cut.rows}
    for row, window in enumerate(program.windows):
        if set(window.stride) != {1} and row not in movable:
            refused.setdefault(window.path or window.kind, _no_cut_reason(program, window))
    targets = []
    for cut in _cuts(program, through_strides_of_one=True):
        members = [program.windows[row] for row in cut.rows]
        covers_stride = any(set(m.stride) == {1} and min(m.kernel) > 1 for m in members)
        if set(cut.factor) == {1} and covers_stride and not _first_reason(modules, program, members):
            targets.append(cut)
    return Placements(tuple(steps), tuple(targets), refused)


def stride_of(module: nn.Module, axes: int | None = None) -> Size | None:
    """The `stride` attribute of a module, one number for each axis; None if it has none.

    `axes` is their number; None: as many as the kind of module has, such as `nn.Conv1d`, else two.
    """
    stride = getattr(module, "stride", None)
    if isinstance(stride, int):
        return (stride,) * (axes or axes_of(module) or 2)
    if isinstance(stride, Sequence) and stride and all(isinstance(s, int) for s in stride):
        return tuple(stride)
    return None


def _first_reason(modules: Mapping[str, nn.Module], program: StrideProgram, members: Sequence[Resize]) -> str:
    return next((reason for reason in (_unsettable_reason(modules, program, m) for m in members) if reason), "")


def _unsettable_reason(modules: Mapping[str, nn.Module], program: StrideProgram, window: Resize) -> str:
    """The reason why a window's stride cannot be set on its module; empty if it can."""
    module = modules[window.path]
    if window.stride != stride_of(module, window.axes):
        return f"{window.kind} gets its stride from the code of {type(module).__name__}, not from an attribute"
    if program.graph.calls.get(window.path, 0) != 1 or sum(w.path == window.path for w in program.windows) != 1:
        return f"{window.path} runs more than once in a pass"
    if getattr(module, "return_indices", False):
        return f"the indices of {window.path} are used"
    return ""


def _no_cut_reason(program: StrideProgram, window: Resize) -> str:
    """The reason why no cut passes through a strided window."""
    before, after = _key(program.graph, window.source), _key(program.graph, window.target)
    if before is None or after is None:
        return "its map is partitioned or reshaped, so its size may not depend on the image size"
    if before in _reachable(after, _following(program, through_strides_of_one=False)):
        return "its output is upsampled and combined with its input"
    return "its output is combined with maps of another stride or an upsampling"


def _cuts(program: StrideProgram, *, through_strides_of_one: bool) -> Iterator[Cut]:
    """The smallest cut before each axis class, in order of execution.

    Without `through_strides_of_one`, cuts pass only through layers with a stride above 1; classes that layers of stride
    1 connect are on the same side.
    """
    graph = program.graph
    edges = _edges(program)
    following = _following(program, through_strides_of_one=through_strides_of_one)
    start = _key(graph, tuple(d.axis for d in graph.dims(graph.input_id)[-graph.ndim :]))
    found: set[tuple[int, ...]] = set()
    for vertex in dict.fromkeys(b for _, _, b in edges):
        downstream = _reachable(vertex, following)
        crossing = [row for row, a, b in edges if b in downstream and a not in downstream]
        rows = tuple(row for row in crossing if row is not None)
        if start in downstream or not rows or rows in found or len(rows) < len(crossing):
            continue  # an upsampling in the cut would need another factor
        found.add(rows)
        strides = zip(*(program.windows[row].stride for row in rows), strict=True)
        yield Cut(rows, downstream, tuple(math.gcd(*each) for each in strides))


def _edges(program: StrideProgram) -> list[tuple[int | None, Key, Key]]:
    """(row of the window, class before, class after) of every resize; the row is None for an upsampling."""
    graph = program.graph
    return [
        (program.row.get(resize.node), a, b)
        for resize in graph.resizes
        if (a := _key(graph, resize.source)) is not None and (b := _key(graph, resize.target)) is not None
    ]


def _following(program: StrideProgram, *, through_strides_of_one: bool) -> Mapping[Key, set[Key]]:
    """The classes directly after each class; windows of stride 1 that no cut may pass count in both directions."""
    following: dict[Key, set[Key]] = {}
    for row, a, b in _edges(program):
        following.setdefault(a, set()).add(b)
        if not through_strides_of_one and row is not None and set(program.windows[row].stride) == {1}:
            following.setdefault(b, set()).add(a)
    return following


def _key(graph: Graph, axes: Sequence[int | None]) -> Key | None:
    """The classes of the axes, such as height and width; for a multiple of a class, that class."""
    known = [graph.classes.base(axis)[0] for axis in axes if axis is not None]
    return tuple(known) if len(known) == len(axes) else None


def _reachable(vertex: Key, following: Mapping[Key, set[Key]]) -> frozenset[Key]:
    seen = {vertex}
    ahead = [vertex]
    while ahead:
        new = following.get(ahead.pop(), set()) - seen
        seen |= new
        ahead += new
    return frozenset(seen)
