"""What a planner needs to know of a layer's surroundings, read from the graph."""

from __future__ import annotations

from .axes import Resize
from .graph import Graph, Node
from .kinds import Site

__all__ = ["sites"]

_PADS = frozenset({"aten.constant_pad_nd", "aten.reflection_pad2d", "aten.replication_pad2d"})


def sites(graph: Graph, here: Graph, order: str, preserve: bool) -> dict[int, Site]:
    """The sites of all strided operations, by their nodes in `graph`.

    `here` traces the same model at the size that it is converted at, where strides may leave other rests. An operation
    that is none there, on a map of one pixel, has its site in `graph`.
    """
    found = {(r.path, r.call): (here, r) for r in here.resizes}
    return {r.node: _site(*found.get((r.path, r.call), (graph, r)), order, preserve) for r in graph.resizes}


def _site(graph: Graph, resize: Resize, order: str, preserve: bool) -> Site:
    """The site of a strided operation, with the padding that its layer, or a child of it, runs just before it."""
    node = _producer(graph, graph.nodes[resize.node].inputs[0], resize.node)
    if node is None or node.op not in _PADS or not f"{node.path}.".startswith(f"{resize.path}."):
        return Site(resize, order, preserve)
    left, right, top, bottom = [int(n) for n in node.args[1]] + [0, 0] * (len(node.args[1]) == 2)
    return Site(resize, order, preserve, ((top, bottom), (left, right)))


def _producer(graph: Graph, value: int, before: int) -> Node | None:
    return next((graph.nodes[i] for i in range(before - 1, -1, -1) if value in graph.nodes[i].outputs), None)
