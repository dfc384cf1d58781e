"""The work of every operation of a traced pass, and the sizes that it grows with."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dynpool.graph import Graph, Node

from .clock import Key

__all__ = ["Amount", "amounts_of_work"]

Amount = tuple[int, tuple[tuple[int, int], ...]]  # MACs or elements at tracing, (axis class, size at tracing) of axes


def amounts_of_work(graph: Graph) -> dict[Key, list[Amount]]:
    """The work of each operation of a module: its MACs, or the elements that it reads and writes, with their axes."""
    macs = {mac.node: (mac.macs, mac.axes) for mac in graph.macs}
    found: dict[Key, list[Amount]] = {}
    for node in graph.nodes:
        amounts = [macs[node.index]] if node.index in macs else list(_elements(graph, node))
        found.setdefault((node.path, node.op), []).extend(amounts)
    return found


def _elements(graph: Graph, node: Node) -> Iterator[Amount]:
    for value in (*node.outputs, *node.inputs):
        known = graph.values[value]
        if known.origin in ("op", "input"):
            axes = ((a.axis, a.size) for dim in graph.dims(value) for a in dim.atoms if a.axis is not None)
            yield math.prod(known.shape), tuple(axes)
