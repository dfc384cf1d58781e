"""Finds operations without effect: nothing that the model returns or stores depends on them."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from dynpool.graph import Graph, PassOptions, TraceError, trace

from .layer_context import places
from .size_groups import groups

__all__ = ["unused_nodes", "unused_resizers"]


def unused_nodes(graph: Graph) -> frozenset[int]:
    """The nodes of a graph, by index, on which none of `graph.outputs` depends.

    Values that share memory count as one, as a write to one of them changes all.
    """
    memory: dict[int, int] = {}  # the first value in it, by value

    def first_alias(value: int) -> int:
        return memory.get(value, value)

    for node in graph.nodes:
        shared = [(node.inputs[0], new) for new in node.outputs] if node.aliasing.view else node.written
        memory.update((new, first_alias(old)) for old, new in shared)
    needed = {first_alias(value) for value in graph.outputs}
    unused: set[int] = set()
    for node in reversed(graph.nodes):
        given = (*node.outputs, *(node.inputs if node.aliasing.targets else ()))
        if any(first_alias(value) in needed for value in given):
            needed.update(map(first_alias, node.inputs))
        else:
            unused.add(node.index)
    return frozenset(unused)


def unused_resizers(model: nn.Module, graph: Graph, **options: Unpack[PassOptions]) -> set[int]:
    """The nodes of resizers that open a resolution on which nothing depends, neither in eval nor in training mode.

    Args:
        model: the model; it is not changed.
        graph: its trace in eval mode.
        options: what a pass needs, see :func:`dynpool.graph.tracer.trace`.
    """
    unused = unused_nodes(graph)
    resizers = {r.node for r in graph.resizes} & unused
    if resizers:
        try:
            training = trace(model, graph.size, training=True, strict=False, **options)
        except TraceError:  # the model runs in eval mode only
            training = graph
        unused = unused_nodes(training)
        used = {place for place, r in places(training) if r.node not in unused}
        resizers -= {r.node for place, r in places(graph) if place in used}
    return {r.node for group in groups(graph) for r in group.members if {m.node for m in group.members} <= resizers}
