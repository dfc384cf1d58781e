"""The layout of a layer graph: columns by depth, and lanes so that no edge crosses a node."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .layer_graph import LayerGraph

__all__ = ["Cell", "Layout", "lay_out"]

Cell = tuple[int, int]  # column, lane


@dataclass(frozen=True)
class Layout:
    """The cells of nodes and edges.

    Attributes:
        nodes: cell of each node.
        edges: the cells that each edge passes, both ends included.
    """

    nodes: tuple[Cell, ...]
    edges: tuple[tuple[Cell, ...], ...]


def lay_out(graph: LayerGraph) -> Layout:
    """The layout of a graph. A node's column is its longest path from the input; a cell holds one node or passing edge.

    A node prefers the lane of its deepest source, and an edge that of its ends, so that a chain of layers is straight
    and a shortcut runs beside the layers it skips. Time is linear in the nodes and in the columns that edges cross.
    """
    depth: list[int] = []
    for sources in graph.sources:
        depth.append(1 + max((depth[source] for source in sources), default=-1))
    taken: set[Cell] = set()
    lanes = [0] * len(depth)
    edges: list[tuple[Cell, ...]] = []

    def free(first: int, last: int, wished: tuple[int, ...]) -> int:
        """The first of the wished lanes, else of all lanes, that is free in the columns first to last; takes it."""
        lane = -1
        for lane in itertools.chain(wished, range(len(depth))):
            if not any((column, lane) in taken for column in range(first, last + 1)):
                break
        taken.update((column, lane) for column in range(first, last + 1))
        return lane

    for node in sorted(range(len(depth)), key=lambda node: (depth[node], node)):
        deepest_first = sorted(graph.sources[node], key=lambda source: -depth[source])
        lanes[node] = free(depth[node], depth[node], tuple(lanes[source] for source in deepest_first[:1]))
        for source in deepest_first:
            start, end = (depth[source], lanes[source]), (depth[node], lanes[node])
            between: Sequence[Cell] = ()
            if depth[node] - depth[source] > 1:
                lane = free(depth[source] + 1, depth[node] - 1, (lanes[source], lanes[node]))
                between = [(column, lane) for column in range(depth[source] + 1, depth[node])]
            edges.append((start, *between, end))
    return Layout(tuple(zip(depth, lanes, strict=True)), tuple(edges))
