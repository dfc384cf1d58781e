"""Compares the resizes of training and eval mode: a model may have more heads, or other paths, in training mode."""

from __future__ import annotations

from collections import Counter
from typing import Unpack

from torch import nn

from .axes import Resize
from .errors import TraceError
from .ir import Graph, Shape
from .pass_options import PassOptions
from .tracer import Shapes, trace_compared, trace_shapes

__all__ = ["unite_modes"]

_SPATIAL = ("aten.convolution", "aten.max_pool", "aten.avg_pool", "aten.upsample_")


def unite_modes(model: nn.Module, graph: Graph, **options: Unpack[PassOptions]) -> bool:
    """Add the constraints of training mode to a trace in eval mode; True if the two modes differ.

    A shallow pass shows whether the convolutions, pools and upsamplings are the same; only if not, the model is traced
    in training mode as well. Resizers that only run in training mode are noted and not converted.
    """
    try:
        training = trace_shapes(model, graph.input_size, training=True, strict=False, **options)
    except TraceError as error:
        graph.notes.append(f"not compared with training mode: {error}")
        return False
    if _maps(training, graph.ndim) == _maps(_shapes_of(graph), graph.ndim):
        return False
    _unite(graph, trace_compared(model, graph.input_size, training=True, strict=False, **options))
    return True


def _shapes_of(graph: Graph) -> Shapes:
    def shapes(values: tuple[int, ...]) -> tuple[Shape, ...]:
        return tuple(graph.values[v].shape for v in values)

    return {node.place: (shapes(node.inputs), shapes(node.outputs)) for node in graph.nodes}


def _maps(shapes: Shapes, ndim: int) -> dict[object, object]:
    """The sizes along the last `ndim` axes of the outputs of spatial operations, by position in the pass."""
    return {place: [s[-ndim:] for s in out] for place, (_, out) in shapes.items() if place[2].startswith(_SPATIAL)}


def _by_place(graph: Graph) -> dict[tuple[str, int, int], Resize]:
    count: Counter[tuple[str, int]] = Counter()
    found: dict[tuple[str, int, int], Resize] = {}
    for r in graph.resizes:
        found[r.path, r.call, count[r.path, r.call]] = r
        count[r.path, r.call] += 1
    return found


def _unite(graph: Graph, training: Graph) -> None:
    here, there = _by_place(graph), _by_place(training)
    same: dict[int, list[int]] = {}  # axis classes of training mode, and what they are in eval mode
    for place, r in here.items():
        t = there.get(place)
        name = r.path or r.kind
        if t is None:
            graph.notes.append(f"{name} resizes in eval mode only")
            continue
        if (t.in_size, t.out_size) != (r.in_size, r.out_size):
            graph.notes.append(
                f"{name} resizes {r.in_size} to {r.out_size} in eval mode, {t.in_size} to {t.out_size} in training mode"
            )
        for a, b in zip((*t.source, *t.target), (*r.source, *r.target), strict=True):
            if a is not None and b is not None:
                same.setdefault(training.classes.find(a), []).append(b)
    for axis, ours in same.items():
        for other in ours[1:]:
            graph.classes.unite(ours[0], other)
        _pin(graph, ours[0], training.classes.pinned(axis))
    for place, t in there.items():
        if place not in here:
            graph.notes.append(f"{t.path or t.kind} resizes in training mode only, and is left alone")
            for a, b in zip(t.source, t.target, strict=True):
                if a is not None and b is not None:
                    for axis in same.get(training.classes.find(a), [])[:1]:
                        _pin(graph, axis, training.classes.pinned(b))


def _pin(graph: Graph, axis: int, why: str | None) -> None:
    if why is not None:
        graph.classes.pin(axis, why if graph.classes.pinned(axis) else f"{why}, in training mode")
