"""The graph of a report's layers for plotting, with a junction wherever several paths meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...fields import FieldReport

__all__ = ["INPUT", "LayerGraph", "layer_graph"]

INPUT = -1


@dataclass(frozen=True)
class LayerGraph:
    """A graph in topological order.

    Attributes:
        layers: node -> index of its row in the report; the input is `INPUT`, a junction has no entry.
        sources: for each node, the nodes that lead to it.
    """

    layers: dict[int, int]
    sources: tuple[tuple[int, ...], ...]


def layer_graph(report: FieldReport) -> LayerGraph:
    """The report's edges with junctions inserted, so that there are about as many edges as layers.

    In a residual network the layer behind the n-th block is reached from all n blocks, so the report's edges grow with
    the square of the depth. Layers reached from the same set of layers share a junction. A set that contains an earlier
    one becomes that one's junction plus the additional layers: the additions or concatenations of the model.
    """
    reached: dict[int, set[int]] = {}
    for source, target in report.edges:
        reached.setdefault(target, set()).add(source)
    layers = {0: INPUT}
    sources: list[tuple[int, ...]] = [()]
    node_of = {INPUT: 0}
    joins: dict[frozenset[int], int] = {}

    def junction(found: frozenset[int]) -> int:
        """The node that represents a set of layers."""
        if len(found) == 1:
            return node_of[next(iter(found))]
        if found not in joins:
            # The latest sets are the largest and the most likely subsets.
            inside = [known for known in reversed(joins) if known < found]
            best = max(inside, key=len, default=frozenset())
            parts = [joins[best]] if best else []
            parts += [node_of[layer] for layer in sorted(found - best)]
            sources.append(tuple(parts))
            joins[found] = len(sources) - 1
        return joins[found]

    for index in range(len(report.layers)):
        found = reached.get(index)
        before = () if not found else (junction(frozenset(found)),)
        sources.append(before)
        node_of[index] = len(sources) - 1
        layers[len(sources) - 1] = index
    return LayerGraph(layers, tuple(sources))
