"""Groups of layers that must have the same number of channels, and the changes needed to widen one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import nn

from dynpool.graph import Graph, Node

from .layer_changes import LayerChange, width_of

__all__ = ["WidthClass", "Widths"]

Width = tuple[int, ...]

_SAME = frozenset(
    f"aten.{name}"
    for name in (
        "native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm max_pool2d_with_indices max_pool2d "
        "max_pool3d_with_indices max_pool3d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d "
        "adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d constant_pad_nd clone detach "
        "alias native_dropout hardswish hardswish_ hardtanh hardtanh_ elu elu_ leaky_relu "
        "leaky_relu_ hardsigmoid hardsigmoid_ softplus mish celu"
    ).split()
)


@dataclass
class WidthClass:
    """Values that must have the same number of channels, and the layers involved.

    Attributes:
        width: the number of channels.
        producers: layers with as many output channels.
        consumers: layers with as many input channels.
        per_channel: normalisations and depthwise convolutions.
        pinned: the reason why the width cannot change; empty if it can.
    """

    width: int
    producers: list[str] = field(default_factory=list)
    consumers: list[str] = field(default_factory=list)
    per_channel: list[str] = field(default_factory=list)
    pinned: str = ""


class Widths:
    """The width classes of a traced model.

    Convolutions, linear layers behind a global pooling, batch norms, elementwise operations and pools are supported.
    The inputs and outputs of any other operation (concatenation, grouped convolution, attention, a layer norm, a scale
    with weights of its own) are pinned.
    """

    def __init__(self, model: nn.Module, graph: Graph) -> None:
        self.graph = graph
        self.modules = dict(model.named_modules())
        self._classes: list[WidthClass] = []
        self._parent: list[int] = []
        self._number: dict[int, int] = {}  # value -> number of its class; weights have none
        self._number[graph.input_id] = self._new(graph.values[graph.input_id].shape[1])
        self._pin(graph.input_id, "the image's channels")
        for node in graph.nodes:
            if any(v in self._number for v in node.inputs):
                self._follow(node)
        for value in graph.nodes[-1].outputs:
            self._pin(value, "the model's output")

    def class_of(self, value: int) -> int | None:
        """The number in `classes` of the class of a value's channels; None if it has none."""
        return None if value not in self._number else self._find(self._number[value])

    @property
    def classes(self) -> dict[int, WidthClass]:
        """All classes by number."""
        return {i: c for i, c in enumerate(self._classes) if self._parent[i] == i}

    def changes(self, widths: Mapping[int, int]) -> tuple[LayerChange, ...]:
        """The layer changes, in order of execution, that give classes new widths.

        Raises:
            ValueError: for a pinned class; the message gives the reason.
        """
        found: dict[str, Width] = {}
        for number, width in widths.items():
            changed = self._classes[number]
            if changed.pinned:
                raise ValueError(f"a width of {changed.width} cannot change: {changed.pinned}")
            for side, layers in enumerate((changed.consumers, changed.producers)):  # input, output channels
                for layer in layers:
                    now = list(found.get(layer, width_of(self.modules[layer])))
                    now[side] = width
                    found[layer] = tuple(now)
            for layer in changed.per_channel:
                found[layer] = (width,) * len(width_of(self.modules[layer]))
        order = {path: i for i, path in enumerate(self.modules)}
        return tuple(
            LayerChange(layer, "width", before, found[layer])
            for layer in sorted(found, key=order.__getitem__)
            if (before := width_of(self.modules[layer])) != found[layer]
        )

    # -- union-find --

    def _new(self, width: int) -> int:
        self._classes.append(WidthClass(width))
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def _find(self, number: int) -> int:
        while self._parent[number] != number:
            number = self._parent[number]
        return number

    def _class(self, value: int) -> WidthClass:
        return self._classes[self._find(self._number[value])]

    def _unite(self, a: int, b: int) -> None:
        a, b = sorted((self._find(a), self._find(b)))
        if a != b:
            self._parent[b] = a
            kept, merged = self._classes[a], self._classes[b]
            for layers, more in (
                (kept.producers, merged.producers),
                (kept.consumers, merged.consumers),
                (kept.per_channel, merged.per_channel),
            ):
                layers += [path for path in more if path not in layers]
            kept.pinned = kept.pinned or merged.pinned

    def _pin(self, value: int, reason: str) -> None:
        if value in self._number:
            pinned = self._class(value)
            pinned.pinned = pinned.pinned or reason

    # -- rules for operations --

    def _follow(self, node: Node) -> None:
        rule = _RULES.get(node.op) or (Widths._same if node.op in _SAME or node.pointwise else None)
        if rule is None or not rule(self, node):
            reason = f"{node.op} in {node.path or 'the model'}"
            for value in node.inputs:
                self._pin(value, reason)
            for value in node.outputs:
                self._number[value] = self._new(0)
                self._pin(value, reason)

    def _layer(self, node: Node, kinds: tuple[type[nn.Module], ...]) -> bool:
        """Whether the node is the only call of a module of one of these types, with no other weights than usual."""
        module = self.modules[node.path]
        usual = {"weight", "bias"} >= {name for name, _ in module.named_parameters()}
        return isinstance(module, kinds) and usual and self.graph.calls.get(node.path, 0) == 1

    def _same(self, node: Node) -> bool:
        """An operation that keeps channels; the values it combines must have the same number."""
        known = [v for v in node.inputs if v in self._number]
        out = self.graph.values[node.outputs[0]].shape
        if any(math.prod(self.graph.values[v].shape) > 1 for v in node.inputs if v not in self._number):  # weights
            if not self._layer(node, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
                return False
            self._class(known[0]).per_channel.append(node.path)
        for value in known:
            if self.graph.values[value].shape[1:2] != out[1:2]:
                return False
        for value in known[1:]:
            self._unite(self._number[known[0]], self._number[value])
        self._number[node.outputs[0]] = self._number[known[0]]
        return True

    def _convolution(self, node: Node) -> bool:
        (x, weight), groups = node.inputs[:2], node.arguments["groups"]
        taken, given = self.graph.values[x].shape[1], self.graph.values[node.outputs[0]].shape[1]
        plain = self._layer(node, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and not node.arguments["transposed"]
        if not plain or x not in self._number or weight in self._number:
            return False
        if groups == taken == given > 1:
            self._class(x).per_channel.append(node.path)
            self._number[node.outputs[0]] = self._number[x]
            return True
        if groups != 1:
            return False
        return self._product(node, x, given)

    def _linear(self, node: Node) -> bool:
        x = next(value for value in node.inputs if value in self._number)
        return self._layer(node, (nn.Linear,)) and self._product(node, x, self.graph.values[node.outputs[0]].shape[1])

    def _product(self, node: Node, x: int, given: int) -> bool:
        self._class(x).consumers.append(node.path)
        self._number[node.outputs[0]] = self._new(given)
        self._class(node.outputs[0]).producers.append(node.path)
        return True

    def _mean(self, node: Node) -> bool:
        dims = node.arguments.get("dim")
        x = self.graph.values[node.inputs[0]]
        if not dims or any(d % len(x.shape) < 2 for d in dims):
            return False
        self._number[node.outputs[0]] = self._number[x.id]
        return True

    def _view(self, node: Node) -> bool:
        """A view that only removes or adds dimensions of size 1."""
        before, after = (self.graph.values[v].shape for v in (node.inputs[0], node.outputs[0]))
        if len(before) < 2 or len(after) < 2 or before[:2] != after[:2] or math.prod(before[2:]) != 1:
            return False
        self._number[node.outputs[0]] = self._number[node.inputs[0]]
        return True


_RULES: Mapping[str, Callable[[Widths, Node], bool]] = MappingProxyType(
    {
        "aten.convolution": Widths._convolution,
        "aten.addmm": Widths._linear,
        "aten.mm": Widths._linear,
        "aten.mean": Widths._mean,
        **dict.fromkeys(
            ("aten.view", "aten._unsafe_view", "aten.reshape", "aten.squeeze", "aten.unsqueeze"), Widths._view
        ),
    }
)
