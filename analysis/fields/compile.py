"""Builds the field program of a traced model: its steps, and the rows of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dynpool.graph import Graph, Node

from .program import FieldProgram
from .propagate import Call
from .recurrence_domain import RecurrenceDomain
from .rules import walk_of
from .steps import Layer

__all__ = ["compile_fields"]


def compile_fields(graph: Graph) -> FieldProgram:
    """The field program of a traced model; operations that do not change receptive fields have no step."""
    domain = RecurrenceDomain(len(graph.size) - 1)
    walk = walk_of(graph, domain, _Layers(graph))
    walk.run()
    return FieldProgram(graph, domain.steps, domain.states, graph.size[1:], walk.not_understood)


class _Layers:
    """Makes the steps of the report's rows, with their names, MACs and parameters."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names: dict[str, int] = {}
        self.counted: set[int] = set()  # parameters of earlier layers

    def __call__(self, call: Call, whole: Sequence[tuple[int, int, int]]) -> Layer:
        node = call.node
        kind = node.op.split(".")[-1].removesuffix("_with_indices")
        if kind.endswith("pool2d") and len(self.graph.size) == 2:  # which is how PyTorch runs it along one axis
            kind = kind.replace("2d", "1d")
        weights = [self.graph.values[v] for v in self._parameters(call)]
        return Layer(
            source=-1,
            windows=(),
            name=self._name(node, kind),
            kind=kind,
            node=node.index,
            whole=tuple(whole),
            macs=self.graph.macs_by_node.get(node.index, 0),
            parameters=sum(math.prod(value.shape) for value in weights),
            weight_bytes=sum(value.bytes for value in weights),
        )

    def _name(self, node: Node, kind: str) -> str:
        """The module's path, or the kind of an operation in the model's own forward; numbered when it runs again."""
        name = node.path or kind
        self.names[name] = self.names.get(name, 0) + 1
        return name if self.names[name] == 1 else f"{name}#{self.names[name]}"

    def _parameters(self, call: Call) -> list[int]:
        """The parameters behind the layer's weights, except those counted in an earlier layer."""
        found = []
        left = list(call.node.inputs)
        while left:
            value = left.pop()
            if value in self.counted:
                continue
            self.counted.add(value)
            if self.graph.values[value].origin == "parameter":
                found.append(value)
            elif value in self.graph.makers and value not in call.walk.of_image:
                left += self.graph.makers[value].inputs
        return found
