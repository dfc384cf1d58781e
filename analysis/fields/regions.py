"""Which pixels of the image an output position of a layer really sees."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from dynpool.graph import Graph, Node

from .arrays import Array
from .exact_domain import ExactDomain
from .positions import Field
from .rules import walk_of
from .steps import Layer

__all__ = ["SeenRegions"]

LARGEST = 1 << 22  # positions of a map to be compared; attention maps of videos would be far larger


class SeenRegions:
    """Pixel-exact regions of the layers of a trace, computed for all layers on first use.

    Args:
        graph: the trace.
        layers: the steps of the layers, with the indices of their nodes.
        uneven: for each layer, whether its positions may differ in their fields; default: they may.
    """

    def __init__(self, graph: Graph, layers: Sequence[Layer], uneven: Sequence[bool] | None = None) -> None:
        self.graph = graph
        self.nodes = tuple(layer.node for layer in layers)
        self._layers = tuple(layers)
        self._uneven = tuple(uneven or [True] * len(layers))
        self._fields: dict[int, Field] | None = None  # by node

    def region(self, layer: int, position: int | Sequence[int]) -> tuple[tuple[int, int] | None, ...]:
        """Per axis the first and last pixel that an output position of a layer sees; None if none."""
        step = self._layers[layer]
        places = _places(step, self.graph.values[self.graph.nodes[step.node].outputs[0]].shape, position)
        found: list[tuple[int, int] | None] = []
        for axis in range(len(step.windows)):
            intervals = [t.axes[axis] for t in self._all()[step.node].terms]
            low = min(_at(arrays[0], places).min() for arrays in intervals if arrays is not None)
            high = max(_at(arrays[1], places).max() for arrays in intervals if arrays is not None)
            found.append((int(low), int(high)) if math.isfinite(low) else None)
        return tuple(found)

    @cached_property
    def varying(self) -> frozenset[int]:
        """The layers whose positions, those at the border of the image apart, see regions of different sizes."""
        return frozenset(i for i, uneven in enumerate(self._uneven) if uneven and self._varies(i))

    def _varies(self, layer: int) -> bool:
        for axis, extent in enumerate(self.graph.size[1:]):
            found = [t.axes[axis] for t in self._all()[self.nodes[layer]].terms]
            intervals = [arrays for arrays in found if arrays is not None]
            shape = np.broadcast_shapes(*(array.shape for arrays in intervals for array in arrays))
            if not intervals or math.prod(shape) > LARGEST:
                continue
            low = functools.reduce(np.fmin, [np.broadcast_to(arrays[0], shape) for arrays in intervals])
            high = functools.reduce(np.fmax, [np.broadcast_to(arrays[1], shape) for arrays in intervals])
            inside = (low > 0) & (high < extent - 1)
            if len(np.unique((high - low)[inside])) > 1:
                return True
        return False

    def _all(self) -> dict[int, Field]:
        if self._fields is None:
            wanted = {layer.node for layer in self._layers}
            found: dict[int, Field] = {}

            def visit(node: Node, field: Field) -> None:
                if node.index in wanted:
                    found[node.index] = field

            walk_of(self.graph, ExactDomain(len(self.graph.size) - 1)).run(visit)
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
