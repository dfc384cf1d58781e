"""Memory that the tensors of a recorded pass take, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from dynpool.graph import Graph, Node

__all__ = ["Memory", "find_memory"]


@dataclass(frozen=True)
class Memory:
    """Bytes of activations in one pass, by the indices of its operations.

    Activations are the input, which the caller holds throughout, and every tensor that an operation makes, from then to
    the last operation that reads it or a view of it; outputs of the pass are held to its end. This is what inference
    needs if nothing is held longer than necessary: the model's code may hold more (a block's input until the block
    returns), and operations may need memory of their own while they run. Weights are not included.

    Attributes:
        made: new memory that each operation's outputs take; 0 for views and writes in place.
        held: bytes that are held while each operation runs, its inputs and outputs included.
    """

    made: tuple[int, ...]
    held: tuple[int, ...]

    @property
    def peak(self) -> int:
        """The most bytes that are held at once; 0 for a pass of no operation."""
        return max(self.held, default=0)

    @property
    def peak_at(self) -> int | None:
        """The first operation at which they are held."""
        return self.held.index(self.peak) if self.held else None


def find_memory(graph: Graph) -> Memory:
    """The memory of a traced pass, for all images of its batch."""
    end = len(graph.nodes)
    storage = {value: value for value in graph.inputs}  # by value, the value that its memory was made for
    sizes = {value: graph.values[value].bytes for value in graph.inputs}
    begin = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.inputs, end)
    made = [0] * end
    for node in graph.nodes:
        for value in node.inputs:
            if value in storage:
                last[storage[value]] = max(last[storage[value]], node.index)
        for value, shared in zip(node.outputs, _shared(node), strict=True):
            if shared is None:
                storage[value], begin[value], last[value] = value, node.index, node.index
                sizes[value] = _bytes(graph, node, value)
                made[node.index] += sizes[value]
            elif shared in storage:  # else it is a view of weights
                storage[value] = storage[shared]
            if value in graph.outputs and value in storage:
                last[storage[value]] = end
    changes = [0] * (end + 2)
    for value, start in begin.items():
        changes[start] += sizes[value]
        changes[last[value] + 1] -= sizes[value]
    return Memory(tuple(made), tuple(accumulate(changes[:end])))


def _bytes(graph: Graph, node: Node, value: int) -> int:
    """The memory of an output; a batch normalisation returns statistics of the batch only if it computes them."""
    if value != node.outputs[0] and node.op == "aten.native_batch_norm" and not node.arguments["training"]:
        return 0
    return graph.values[value].bytes


def _shared(node: Node) -> Sequence[int | None]:
    """For each output, the value whose memory it shares; None if it has memory of its own."""
    if node.aliasing.view or node.op == "aten._unsafe_view":  # whose schema does not say that it is a view
        return [node.inputs[0]] * len(node.outputs)
    written = {new: old for old, new in node.written}
    return [written.get(value) for value in node.outputs]
