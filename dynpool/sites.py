"""What a planner needs to know of a layer's surroundings, read from the graph."""

from __future__ import annotations

from .axes import Resize
from .graph import Graph, Node
from .kinds import Site

__all__ = ["site_of"]

_PADS = frozenset({"aten.constant_pad_nd", "aten.reflection_pad2d", "aten.replication_pad2d"})


def site_of(graph: Graph, resize: Resize, order: str, preserve: bool) -> Site:
    """The site of a strided operation, with the padding that its layer, or a child of it, runs just before it."""
    node = _producer(graph, graph.nodes[resize.node].inputs[0], resize.node)
    if node is None or node.op not in _PADS or not f"{node.path}.".startswith(f"{resize.path}."):
        return Site(resize, order, preserve)
    left, right, top, bottom = [int(n) for n in node.args[1]] + [0, 0] * (len(node.args[1]) == 2)
    return Site(resize, order, preserve, ((top, bottom), (left, right)))


def _producer(graph: Graph, value: int, before: int) -> Node | None:
    return next((graph.nodes[i] for i in range(before - 1, -1, -1) if value in graph.nodes[i].outputs), None)
