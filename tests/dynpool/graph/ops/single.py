"""The description of a single operation, by tracing a module that runs nothing else."""

from collections.abc import Callable

from torch import Tensor, nn

from dynpool.graph.record import Node, Primitive, Shape
from dynpool.graph.tracer import trace


class Single(nn.Module):
    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def node_of(function: Callable[[Tensor], object], size: tuple[int, ...]) -> tuple[Node, list[Shape]]:
    """The last operation that the function runs on an input of (C, extents...), and the shapes of its outputs."""
    graph = trace(Single(function), size)
    node = graph.nodes[-1]
    return node, [graph.values[v].shape for v in node.outputs]


def primitive_of(function: Callable[[Tensor], object], size: tuple[int, ...]) -> Primitive:
    return node_of(function, size)[0].primitive
