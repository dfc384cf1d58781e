"""The rule of each ATen operation for receptive fields: which are layers, where paths meet, what is global."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dynpool.axes import Dim, Resize
from dynpool.graph import Graph, Node, ValueRef

from .field_program import FieldProgram, Join, Layer, Spread, Step, Stride

__all__ = ["compile_fields"]

Pair = tuple[int, int]
Flags = tuple[bool, bool]

_INPUT, _GLOBAL = 0, 1  # slots


def _ops(names: str) -> frozenset[str]:
    return frozenset(f"aten.{name}" for name in names.split())


_CONVOLUTIONS = _ops("convolution _convolution")
_POOLS = _ops("max_pool2d_with_indices max_pool2d avg_pool2d")
_INTERPOLATIONS = {"aten.upsample_nearest2d": 1, "aten.upsample_bilinear2d": 2, "aten.upsample_bicubic2d": 4}  # pixels
_REDUCTIONS = _ops("mean sum amax amin max min prod any all var std var_mean std_mean logsumexp")
_NORMS = _ops("linalg_vector_norm norm")
_PRODUCTS = _ops("mm addmm bmm baddbmm")
_SOFTMAXES = _ops("_softmax _log_softmax _safe_softmax")
_WHOLE_MAP = ("aten._scaled_dot_product", "aten._fft", "aten._adaptive", "aten.adaptive")


def compile_fields(graph: Graph) -> FieldProgram:
    """What a traced model does to receptive fields; operations that do nothing to them leave no step behind."""
    return FieldProgram(graph, _Compiler(graph).run())


class _Compiler:
    """Turns the nodes of a graph into steps."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[Step] = []
        self.slots: dict[int, int] = {graph.input_id: _INPUT}  # by value; a value without one carries no field
        self.spread: list[Flags] = [(False, False), (True, True)]  # by slot: which axes are global
        self.resizes = {resize.node: resize for resize in graph.resizes}
        self.names: dict[str, int] = {}
        self.direction: dict[int, int] = {}  # axis -> 0 (height) or 1 (width)
        for i, dim in enumerate(self.dims(graph.input_id)[-2:]):
            if dim.axis is not None:
                self.direction[dim.axis] = i

    def run(self) -> list[Step]:
        for node in self.graph.nodes:
            sources = [v for v in node.inputs if v in self.slots]
            if sources:
                slot = self.rule(node, sources)
                for value in node.outputs:
                    self.slots[value] = slot
        return self.steps

    def rule(self, node: Node, sources: list[int]) -> int:
        """The slot of the node's outputs."""
        first = self.slots[sources[0]]
        if node.op in _CONVOLUTIONS and len(self.graph.values[node.args[1].id].shape) == 4:
            return self.on_first(node, sources, self.convolution)
        if node.op in _POOLS:
            return self.pool(node)
        if node.op == "dynpool.dynopool2d":
            return self.on_first(node, sources, self.resizer)
        if node.op == "dynpool.resizer":  # one that mixes several maps resizes each
            return self.join([self.resizer(node, v) for v in sources])
        if node.op in _INTERPOLATIONS:
            return self.resizer(node)
        if node.op.startswith(_WHOLE_MAP):
            return _GLOBAL
        if node.op in _REDUCTIONS or node.op in _NORMS:
            return self.reduction(node, sources)
        if node.op in _PRODUCTS:
            return self.product(node, sources)
        if node.op in _SOFTMAXES:
            return self.spread_over(first, self.axes_of(sources[0], [node.args[1]]), beside=True)
        if node.op == "aten.slice" and _arg(node, 4, 1) > 1:
            return self.strided_slice(node, sources[0])
        return self.join([self.slots[v] for v in sources])

    # -- layers --

    def convolution(self, node: Node) -> int:
        kernel = _pair(self.graph.values[node.args[1].id].shape[-2:])
        stride, padding, dilation = (_pair(node.args[i]) for i in (3, 4, 5))
        kernel = _dilated(kernel, dilation)
        if node.args[6]:  # transposed: a pixel of the output sees at most this many of the input
            seen = (math.ceil(kernel[0] / stride[0]), math.ceil(kernel[1] / stride[1]))
            return self.layer(node, seen, (1 / stride[0], 1 / stride[1]))
        linear = stride == (1, 1) and padding == (0, 0) and min(kernel) > 1
        whole = [(dim.axis, dim.size) for dim in self.dims(node.inputs[0])[-2:]] if linear else []
        return self.layer(node, kernel, stride, whole=whole)

    def pool(self, node: Node) -> int:
        kernel = _pair(node.args[1])
        dilation = _pair(_arg(node, 4, 1)) if node.op != "aten.avg_pool2d" else (1, 1)
        return self.layer(node, _dilated(kernel, dilation), _pair(_arg(node, 2) or kernel))

    def resizer(self, node: Node, value: int | None = None) -> int:
        points = _INTERPOLATIONS.get(node.op, 1)
        reduce = _arg(node, 4) if node.op == "dynpool.dynopool2d" else ""
        resize = self.resizes[node.index]
        if node.resizer is not None and value is not None:
            h, w = self.dims(value)[-2:]
            resize = replace(resize, source=(h.axis, w.axis), in_size=(h.size, w.size))
            seen = map(node.resizer.footprint, resize.in_size, resize.out_size, (0, 1))
            if all(narrow == math.inf for narrow, _ in seen):
                return _GLOBAL
        return self.layer(node, (points, points), (1, 1), resize=resize, reduce=reduce, value=value)

    def layer(
        self,
        node: Node,
        kernel: Pair,
        stride: tuple[float, float],
        *,
        resize: Resize | None = None,
        reduce: str = "",
        whole: Sequence[tuple[int | None, int]] = (),
        value: int | None = None,
    ) -> int:
        source = self.slots[node.inputs[0] if value is None else value]
        if all(self.spread[source]):
            return source
        a, b = order = self.order(node)
        opened = self.resizes.get(node.index)
        if opened is not None:
            for along, i in enumerate(order):
                axis = opened.target[i]
                if axis is not None:
                    self.direction[axis] = along
        kind = node.op.split(".")[-1].removesuffix("_with_indices")
        step = Layer(
            source=source,
            name=self.name(node, kind),
            node=node.index,
            kind=kind,
            kernel=(kernel[a], kernel[b]),
            stride=(float(stride[a]), float(stride[b])),
            order=order,
            resize=resize,
            reduce=reduce,
            resizer=node.resizer,
            whole=(whole[a], whole[b]) if whole else (),
        )
        return self.add(step, self.spread[source])

    def order(self, node: Node) -> Pair:
        """Which of the last two dimensions runs along height and which along width: (1, 0) for a transposed map."""
        ways = [None if d.axis is None else self.direction.get(d.axis) for d in self.dims(node.inputs[0])[-2:]]
        return (1, 0) if ways in ([1, 0], [1, None], [None, 0]) else (0, 1)

    def on_first(self, node: Node, sources: list[int], rule: Callable[[Node], int]) -> int:
        """A layer whose weight or alpha depends on the image as well sees all of it, on a second path."""
        if sources[0] != node.inputs[0]:
            return _GLOBAL
        slot = rule(node)
        return self.join([slot, _GLOBAL]) if len(sources) > 1 else slot

    # -- the rest --

    def reduction(self, node: Node, sources: list[int]) -> int:
        over = _arg(node, 2 if node.op in _NORMS else 1, node.kwargs.get("dim"))
        if isinstance(over, ValueRef):  # the elementwise maximum of two tensors
            return self.join([self.slots[v] for v in sources])
        dims = [over] if isinstance(over, int) else over or range(len(self.dims(sources[0])))
        return self.spread_over(self.slots[sources[0]], self.axes_of(sources[0], dims))

    def product(self, node: Node, sources: list[int]) -> int:
        """Matrix product: what it sums over becomes global."""
        a, b = node.inputs[-2:]
        slots = [self.slots[v] for v in sources if v not in (a, b)]
        for value, dim in ((a, -1), (b, -2)):
            if value in self.slots:
                slots.append(self.spread_over(self.slots[value], self.axes_of(value, [dim])))
        return self.join(slots)

    def strided_slice(self, node: Node, source: int) -> int:
        slot = self.slots[source]
        h, w = self.axes_of(source, [_arg(node, 1, 0)])
        step = node.args[4]
        if not (h or w) or all(self.spread[slot]):
            return slot
        return self.add(Stride(slot, (step if h else 1, step if w else 1)), self.spread[slot])

    def add(self, step: Step, spread: Flags) -> int:
        self.steps.append(step)
        self.spread.append(spread)
        return len(self.spread) - 1

    def join(self, slots: Sequence[int]) -> int:
        distinct = tuple(dict.fromkeys(slots))
        if len(distinct) == 1:
            return distinct[0]
        h, w = (all(self.spread[s][axis] for s in distinct) for axis in (0, 1))
        return _GLOBAL if h and w else self.add(Join(distinct), (h, w))

    def spread_over(self, slot: int, axes: Flags, *, beside: bool = False) -> int:
        if not any(axes) or all(self.spread[slot]):
            return slot
        if beside:
            return self.add(Spread(slot, axes, beside), self.spread[slot])
        h, w = (was or now for was, now in zip(self.spread[slot], axes, strict=True))
        return _GLOBAL if h and w else self.add(Spread(slot, axes), (h, w))

    def axes_of(self, value: int, dims: Sequence[int]) -> Flags:
        """Which of height and width the dimensions hold.

        An axis that has collapsed to one pixel or was cut to a fixed size is no longer marked in the graph. It is
        taken to be where it lies in an image batch, (N, C, H, W).
        """
        held = self.dims(value)
        found = {self.direction.get(axis) for d in dims for axis in held[d].axes}
        if len(held) == 4:
            marked = {self.direction.get(axis) for dim in held for axis in dim.axes}
            lost = {0, 1} - marked
            found |= {d % 4 - 2 for d in dims if not held[d].axes and d % 4 - 2 in lost}
        return (0 in found, 1 in found)

    def dims(self, value: int) -> tuple[Dim, ...]:
        return self.graph.values[value].dims

    def name(self, node: Node, kind: str) -> str:
        """The module's path, or the kind of an operation in the model's own forward; numbered when it runs again."""
        name = node.path or kind
        self.names[name] = self.names.get(name, 0) + 1
        return name if self.names[name] == 1 else f"{name}#{self.names[name]}"


def _arg(node: Node, index: int, default: Any = None) -> Any:
    return node.args[index] if len(node.args) > index else default


def _pair(value: Any) -> Pair:
    items = [value] if isinstance(value, int) else list(value)
    return (int(items[0]), int(items[-1]))


def _dilated(kernel: Pair, dilation: Pair) -> Pair:
    return ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
