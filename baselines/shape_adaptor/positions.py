"""The positions for adaptors in a backbone: between layers that a single feature map connects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from dynpool.graph import Graph, Resize

__all__ = ["Layer", "find_layers", "layers_that_keep"]


@dataclass(frozen=True)
class Layer:
    """A convolution or a block, with everything up to the next one: normalisation, activation, pooling.

    Attributes:
        path: module path of the convolution or block.
        block: whether it is a block.
        resizes: its strided operations.
        end: index of the first graph node behind it.
        next: path of the next layer if a single feature map connects the two and nothing bypasses it, else None.
    """

    path: str
    block: bool
    resizes: tuple[Resize, ...]
    end: int
    next: str | None


def find_layers(model: nn.Module, graph: Graph) -> list[Layer]:
    """The layers of a traced model, its convolutions and blocks, in order of execution.

    The model and every `nn.Sequential` in it are entered; any other module with children counts as one block.
    """
    spans = _spans(graph)
    found = [
        (spans[path], path, module)
        for path, module in _layer_modules(model, "")
        if path in spans and graph.calls.get(path) == 1 and _has_convolution(graph, spans[path])
    ]
    found.sort(key=lambda item: item[0])
    layers = []
    for i, ((first, last), path, module) in enumerate(found):
        following = found[i + 1] if i + 1 < len(found) else None
        end = len(graph.nodes) if following is None else following[0][0]
        if last >= end:
            raise ValueError(
                f"{path} and the next layer overlap in order of execution, so they are not a sequence of layers"
            )
        inside = tuple(r for r in graph.resizes if first <= r.node < end and not r.fixed and None not in r.target)
        passage = following is not None and _is_bottleneck(graph, end) and not _iterates(following[2])
        is_block = next(module.children(), None) is not None
        layers.append(Layer(path, is_block, inside, end, following[1] if passage and following else None))
    return layers


def layers_that_keep(layers: list[Layer]) -> list[Layer]:
    """The layers of stride 1, behind which AutoSC places adaptors.

    In networks with blocks these are all such blocks but the first.
    """
    blocks = [layer for layer in layers if layer.block]
    return [layer for layer in blocks[1:] or layers if not layer.resizes]


def _layer_modules(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        if isinstance(child, nn.Sequential) and type(child).forward is nn.Sequential.forward:
            yield from _layer_modules(child, inner)
        else:
            yield inner, child


def _spans(graph: Graph) -> dict[str, tuple[int, int]]:
    """First and last node of every module, including its submodules."""
    spans: dict[str, tuple[int, int]] = {}
    for node in graph.nodes:
        parts = node.path.split(".")
        for depth in range(1, len(parts) + 1):
            path = ".".join(parts[:depth])
            spans[path] = (spans.get(path, (node.index, 0))[0], node.index)
    return spans


def _has_convolution(graph: Graph, span: tuple[int, int]) -> bool:
    return any(node.op in ("aten.convolution", "aten._convolution") for node in graph.nodes[span[0] : span[1] + 1])


def _is_bottleneck(graph: Graph, at: int) -> bool:
    """Whether nodes from `at` on read only a single earlier feature map, the input of node `at`."""
    made = {graph.input_id} | {value for node in graph.nodes[:at] for value in node.outputs}
    read = {value for node in graph.nodes[at:] for value in node.inputs if value in made}
    if len(read) != 1 or not read.issubset(graph.nodes[at].inputs):
        return False
    dims = graph.dims(next(iter(read)))
    offsets = [d.size - graph.classes.reference(d.axis) if d.axis is not None else None for d in dims[-2:]]
    return len(dims) == 4 and offsets == [0, 0]


def _iterates(module: nn.Module) -> bool:
    """Whether the module iterates over its children, so that adding a child would change what it computes."""
    return isinstance(module, nn.ModuleDict | nn.ModuleList | nn.Sequential)
