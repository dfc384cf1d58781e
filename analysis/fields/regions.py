"""Which pixels of the image an output position of a layer really sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dynpool.graph import Graph, Node

from .arrays import Array
from .exact_domain import ExactDomain
from .positions import Field
from .rules import walk_of
from .steps import Layer

__all__ = ["SeenRegions"]


class SeenRegions:
    """Pixel-exact regions of the layers of a trace, computed for all layers on first use.

    Args:
        graph: the trace.
        layers: the steps of the layers, with the indices of their nodes.
    """

    def __init__(self, graph: Graph, layers: Sequence[Layer]) -> None:
        self._graph = graph
        self._layers = tuple(layers)
        self._fields: dict[int, Field] | None = None  # by node

    def region(self, layer: int, position: int | Sequence[int]) -> tuple[tuple[int, int] | None, ...]:
        """Per axis the first and last pixel that an output position of a layer sees; None if none."""
        step = self._layers[layer]
        places = _places(step, self._graph.values[self._graph.nodes[step.node].outputs[0]].shape, position)
        found: list[tuple[int, int] | None] = []
        for axis in range(len(step.windows)):
            intervals = [t.axes[axis] for t in self._all()[step.node].terms]
            low = min(_at(arrays[0], places).min() for arrays in intervals if arrays is not None)
            high = max(_at(arrays[1], places).max() for arrays in intervals if arrays is not None)
            found.append((int(low), int(high)) if math.isfinite(low) else None)
        return tuple(found)

    def _all(self) -> dict[int, Field]:
        if self._fields is None:
            wanted = {layer.node for layer in self._layers}
            found: dict[int, Field] = {}

            def visit(node: Node, field: Field) -> None:
                if node.index in wanted:
                    found[node.index] = field

            walk_of(self._graph, ExactDomain(len(self._graph.size) - 1)).run(visit)
            self._fields = found
        return self._fields


def _places(step: Layer, shape: Sequence[int], position: int | Sequence[int]) -> dict[int, int]:
    """The index along each output dimension that the layer's windows slide along."""
    longer = [dim for dim in step.slides if shape[dim] > 1] or step.slides[-1:]
    given = tuple(position) if isinstance(position, Sequence) else (position,) * len(longer)
    dims = longer if len(given) == len(longer) else step.slides
    sizes = "x".join(str(shape[dim]) for dim in step.slides)
    count = f"one int for each of its {len(step.slides)} axes" if len(step.slides) > 1 else "one int"
    if len(given) != len(dims) or not all(isinstance(at, int) for at in given):
        raise ValueError(f"position in the map of {step.name}, of size {sizes}, must be {count}, got {position!r}")
    if not all(0 <= at < shape[dim] for dim, at in zip(dims, given, strict=True)):
        raise ValueError(f"position {position!r} is outside the map of {step.name}, of size {sizes}")
    return dict(zip(dims, given, strict=True))


def _at(array: Array, places: dict[int, int]) -> Array:
    index = [min(places[d], n - 1) if d in places else slice(None) for d, n in enumerate(array.shape)]
    return np.asarray(array[tuple(index)])
