"""What the rows of a report's tables show: layers, modules with all they contain, and operators."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dynpool.graph import RETURNS, Graph, Node, primitives

from ..common.colors import UNDERUTILIZED, UNPRODUCTIVE
from .plots.marks import marks

if TYPE_CHECKING:
    from ..fields import FieldReport, LayerRow

__all__ = ["ATTENTION", "Part", "layer_parts", "module_parts", "operator_parts", "unlisted"]

ATTENTION = "attention product"  # of two activations
Shape = tuple[int, ...]


@dataclass
class Part:
    """A layer, a module with everything that runs in it, or all operations of one kind.

    Attributes:
        name: path of the module or name of the operation.
        kind: class of the module, or operation.
        depth: levels below the model.
        calls: how often it ran.
        input: shape of the first tensor from outside that it reads.
        output: shape of the first tensor that it returns.
        macs: for one image.
        parameters: in it; one that several modules share counts in the first.
        weights: bytes of parameters and buffers.
        activations: bytes of all tensors made in it.
        peak: most bytes of activations that are held at once while it runs, those made elsewhere included.
        layers: the layers in it, with their marks and whether r_max varies by position.
        runs: whether any operation runs in it.
    """

    name: str
    kind: str
    depth: int = 0
    calls: int = 1
    input: Shape | None = None
    output: Shape | None = None
    macs: int = 0
    parameters: int = 0
    weights: int = 0
    activations: int = 0
    peak: int = 0
    layers: list[tuple[LayerRow, str, bool]] = field(default_factory=list)
    runs: bool = False

    def run(self, node: Node, report: FieldReport) -> None:
        """Add an operation."""
        self.runs = True
        self.macs += report.graph.macs_by_node.get(node.index, 0)
        self.activations += report.memory.made[node.index]
        self.peak = max(self.peak, report.memory.held[node.index])

    @property
    def layer(self) -> LayerRow | None:
        """Its layer, if there is exactly one."""
        return self.layers[0][0] if len(self.layers) == 1 else None

    @property
    def r_min(self) -> tuple[float, ...]:
        """The largest r_min of its layers, per axis, as I_min is that of the model; empty without layers."""
        return tuple(map(max, zip(*(row.r_min for row, _, _ in self.layers), strict=True)))

    @property
    def r_max(self) -> tuple[float, ...]:
        """The largest r_max of its layers, per axis."""
        return tuple(map(max, zip(*(row.r_max for row, _, _ in self.layers), strict=True)))

    @property
    def r_max_local(self) -> tuple[float, ...]:
        """The largest r_max_local of its layers, per axis."""
        return tuple(map(max, zip(*(row.r_max_local for row, _, _ in self.layers), strict=True)))

    @property
    def mark(self) -> str:
        """'unproductive' or 'underutilized' if all of its layers are; else empty."""
        found = {mark for _, mark, _ in self.layers}
        if found == {UNPRODUCTIVE}:
            return UNPRODUCTIVE
        return UNDERUTILIZED if found and "" not in found else ""

    @property
    def varies(self) -> bool:
        """Whether r_max of any of its layers varies by position."""
        return any(varies for _, _, varies in self.layers)


def _layers(report: FieldReport) -> dict[int, tuple[LayerRow, str, bool]]:
    """The layers by the index of their operation."""
    varying = set(report.varying)
    rows = zip(report.exact.nodes if report.exact else (), report.layers, marks(report), strict=True)
    return {node: (row, mark, row.name in varying) for node, row, mark in rows}


def layer_parts(report: FieldReport) -> list[Part]:
    """The layers of a report."""
    found = []
    for node, layer in _layers(report).items():
        row = layer[0]
        part = Part(row.name, row.kind, 0, 1, row.input_shape, row.shape, parameters=row.parameters, layers=[layer])
        part.run(report.graph.nodes[node], report)
        found.append(replace(part, weights=row.weight_bytes, activations=row.activation_bytes))
    return found


def module_parts(report: FieldReport, deepest: int) -> list[Part]:
    """The model and its modules down to `deepest` levels below it, each with all that it contains.

    Modules come in the order in which they first run, below the one that holds them; those in which no operation runs,
    such as Dropout and Identity, are left out. Operations in a module's own code have a row if they are layers or have
    MACs and the module has other rows below it.
    """
    graph, layers = report.graph, _layers(report)
    attention = _attention(graph)
    parts = {"": Part("", graph.classes_of[""], 0, 1, graph.values[graph.input_id].shape, _returned(graph, ""))}
    for path, calls in graph.calls.items():
        for above in _ancestors(path):
            if above not in parts:
                kind, depth = graph.classes_of[above], len(above.split("."))
                parts[above] = Part(above, kind, depth, 0, None, _returned(graph, above))
        parts[path].calls = calls
    own: dict[tuple[str, str], Part] = {}
    for node in graph.nodes:
        for path in _ancestors(node.path):
            part = parts[path]
            part.run(node, report)
            part.layers += [layers[node.index]] if node.index in layers else []
            part.input = part.input or _read(graph, node, path)
        if node.index in layers or node.index in graph.macs_by_node:
            name = layers[node.index][0].kind if node.index in layers else node.op.split(".")[-1]
            kind = ATTENTION if node.index in attention else name
            part = own.setdefault((node.path, name), Part(name, kind, parts[node.path].depth + 1, 0))
            part.calls += 1
            part.run(node, report)
            part.layers += [layers[node.index]] if node.index in layers else []
            part.input = part.input or _read(graph, node, None)
            part.output = part.output or graph.values[node.outputs[0]].shape
    first_names = {value: name for name, value in reversed(graph.weights.items())}
    for index, name in first_names.items():
        value = graph.values[index]
        for path in _ancestors(name.rpartition(".")[0]):
            if path in parts:
                parts[path].weights += value.bytes
                parts[path].parameters += math.prod(value.shape) if value.origin == "parameter" else 0
    return list(_nested(parts, own, deepest))


def _nested(parts: dict[str, Part], own: dict[tuple[str, str], Part], depth: int) -> Iterator[Part]:
    below: dict[str, list[str]] = {path: [] for path in parts}
    for path, part in parts.items():
        if path and part.runs:
            below[path.rpartition(".")[0]].append(path)

    def walk(path: str) -> Iterator[Part]:
        yield parts[path]
        if parts[path].depth < depth:
            for child in below[path]:
                yield from walk(child)
            if below[path]:  # else the module's row says it all
                yield from (part for (where, _), part in own.items() if where == path)

    return walk("")


def _ancestors(path: str) -> list[str]:
    """The path and all above it, from the model's, which is empty."""
    names = path.split(".") if path else []
    return ["", *(".".join(names[:n]) for n in range(1, len(names) + 1))]


def _returned(graph: Graph, path: str) -> Shape | None:
    """The shape of the first tensor that the first call of a module returns."""
    shapes = graph.returns.get((path, 0, RETURNS, 0), ((), ()))[1]
    return shapes[0] if shapes else None


def _read(graph: Graph, node: Node, path: str | None) -> Shape | None:
    """The shape of the first tensor that an operation reads and that no operation of the module at `path` made."""
    for value in node.inputs:
        maker = graph.makers.get(value)
        outside = path is None or maker is None or not _inside(maker.path, path)
        if outside and graph.values[value].origin in ("input", "op"):
            return graph.values[value].shape
    return None


def _inside(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(f"{module}.")


def operator_parts(report: FieldReport) -> list[Part]:
    """All operations of the pass by kind, those with the most MACs and activations first."""
    found: dict[str, Part] = {}
    for node in report.graph.nodes:
        part = found.setdefault(node.op, Part(node.op, node.op, calls=0))
        part.calls += 1
        part.run(node, report)
    return sorted(found.values(), key=lambda part: (-part.macs, -part.activations, part.name))


def unlisted(report: FieldReport) -> dict[str, tuple[int, int]]:
    """What multiplies without being a layer, by kind: the number of operations, and their MACs."""
    graph, layers = report.graph, set(report.exact.nodes if report.exact else ())
    attention = _attention(graph)
    found: dict[str, tuple[int, int]] = {}
    for node in graph.nodes:
        if node.index not in layers and (node.index in graph.macs_by_node or node.index in attention):
            linear = "linear layer" if isinstance(node.primitive, primitives.Product) else node.op.split(".")[-1]
            kind = ATTENTION if node.index in attention else linear
            count, macs = found.get(kind, (0, 0))
            found[kind] = count + 1, macs + graph.macs_by_node.get(node.index, 0)
    return found


def _attention(graph: Graph) -> set[int]:
    """The operations that multiply two activations, as attention does, by index."""
    of_image, found = set(graph.inputs), set()
    for node in graph.nodes:
        p = node.primitive
        if not of_image.isdisjoint(node.inputs):
            of_image.update(node.outputs)
        both = isinstance(p, primitives.Product) and p.a.id in of_image and p.b.id in of_image
        if both or isinstance(p, primitives.Attention):
            found.add(node.index)
    return found
