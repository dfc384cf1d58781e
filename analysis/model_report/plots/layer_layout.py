"""Where the nodes and arrows of a layer graph go: columns by depth, and lanes so that no arrow runs through a node."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .layer_graph import LayerGraph

__all__ = ["Layout", "Place", "lay_out"]

Place = tuple[int, int]  # column, lane


@dataclass(frozen=True)
class Layout:
    """Attributes:
    nodes: place of each node.
    arrows: the places each arrow passes, from its node to its node.
    """

    nodes: tuple[Place, ...]
    arrows: tuple[tuple[Place, ...], ...]


def lay_out(graph: LayerGraph) -> Layout:
    """A node's column is its depth, the longest way from the input; each place holds one node or passing arrow.

    A node prefers the lane of its deepest source and an arrow that of its node, so that a chain of layers stays
    straight and a shortcut runs beside what it skips. Linear in nodes and in the columns that arrows cross.
    """
    depth: list[int] = []
    for sources in graph.sources:
        depth.append(1 + max((depth[source] for source in sources), default=-1))
    taken: set[Place] = set()
    lanes = [0] * len(depth)
    arrows: list[tuple[Place, ...]] = []

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
            between: Sequence[Place] = ()
            if depth[node] - depth[source] > 1:
                lane = free(depth[source] + 1, depth[node] - 1, (lanes[source], lanes[node]))
                between = [(column, lane) for column in range(depth[source] + 1, depth[node])]
            arrows.append((start, *between, end))
    return Layout(tuple(zip(depth, lanes, strict=True)), tuple(arrows))
