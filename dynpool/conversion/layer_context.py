"""The context of each layer that a planner needs, read from the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dynpool.graph import Graph, Node, Resize
from dynpool.size_math import Size

from .registry import Site

__all__ = ["matched", "places", "sites"]


_PADS = frozenset(
    {"aten.constant_pad_nd", *(f"aten.{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3))}
)


def sites(graph: Graph, here: Graph, order: str, preserve: bool) -> dict[int, Site]:
    """The sites of all strided operations, by their nodes in `graph`.

    `here` is a trace of the same model at the conversion's input size, where strides may leave different remainders. An
    operation that is not strided there, as its map is a single pixel, has its site in `graph`.
    """
    found = matched(graph, here)
    at = {r.node: (here, found[r.node]) if r.node in found else (graph, r) for r in graph.resizes}
    return {node: _site(*where, order, preserve) for node, where in at.items()}


def matched(graph: Graph, here: Graph) -> dict[int, Resize]:
    """The resizes of `here` by the nodes of the same ones in `graph`; those that run in both."""
    found = dict(places(here))
    return {r.node: found[place] for place, r in places(graph) if place in found}


def places(graph: Graph) -> Iterator[tuple[tuple[str, int, str, int], Resize]]:
    """Every resize with an identifier: module path, call, kind, and index among resizes of that kind in the call."""
    count: Counter[tuple[str, int, str]] = Counter()
    for r in graph.resizes:
        at = (r.path, r.call, r.kind)
        yield (*at, count[at]), r
        count[at] += 1


def _site(graph: Graph, resize: Resize, order: str, preserve: bool) -> Site:
    """The site of a strided operation, with the padding that its layer, or a child of it, runs just before it."""
    node = graph.makers.get(graph.nodes[resize.node].inputs[0])
    if node is None or not f"{node.path}.".startswith(f"{resize.path}."):
        return Site(resize, order, preserve)
    if node.op == "aten.new_empty":
        return Site(resize, order, preserve, _written_around(graph, node, resize.axes))
    if node.op not in _PADS:
        return Site(resize, order, preserve)
    around = [int(n) for n in node.arguments["pad" if node.op == "aten.constant_pad_nd" else "padding"]]
    by_axis = [*zip(around[::2], around[1::2], strict=True)][: resize.axes]  # from the last axis on
    by_axis += [(0, 0)] * (resize.axes - len(by_axis))
    return Site(resize, order, preserve, tuple(by_axis[::-1]))


def _written_around(graph: Graph, made: Node, axes: int) -> tuple[Size, ...]:
    """The padding of a map that is written into a larger one, as circular padding does: (low, high) per axis.

    The first tensor written is the map; it goes into slices, one for each axis.
    """
    (value,) = made.outputs
    rank = len(graph.values[value].shape)
    spans: dict[int, dict[int, Size]] = {value: {}}  # by view of the larger map: what it covers of each axis
    for node in graph.nodes[made.index + 1 :]:
        if node.op == "aten.slice" and node.inputs[0] in spans:
            at, start, end = (int(node.arguments[name]) for name in ("dim", "start", "end"))
            (view,) = node.outputs
            spans[view] = {**spans[node.inputs[0]], at % rank: (start, end)}
        elif node.op == "aten.copy_" and node.inputs[0] in spans:
            covered, shape = spans[node.inputs[0]], graph.values[value].shape
            around = [
                (a, n - min(b, n))
                for n, (a, b) in ((shape[i], covered.get(i, (0, shape[i]))) for i in range(rank - axes, rank))
            ]
            return tuple(around)
    return ((0, 0),) * axes
