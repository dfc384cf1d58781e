"""Receptive fields of any model: r_min and r_max per layer, I_min, and which layers the input is too small for.

    r_l = r_{l-1} + (k_l - 1) * S_{l-1}

with k_l the kernel size, dilation included, and S_{l-1} the product of the strides before; r = 1 at the input. Where
paths meet, r_min takes the smallest and r_max the largest. Convolutions, fixed-window pooling and resizers are layers.
A global operation (mean over an axis, adaptive pooling, attention, a linear layer over the whole map or the convolution
that is one) makes a path infinite: never the minimum, and what lies on such paths alone is no layer.

Reference: Richter and Pal, "Receptive Field Refinement for Convolutional Neural Networks Reliably Improves Predictive
Performance", Eq. 7 and Table 7; for `aligned`, Araujo et al., "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import nn

from dynpool.axes import Resize
from dynpool.graph import Graph, Node, ValueRef, check_input_size, trace
from dynpool.sizes import effective_kernel, effective_stride

__all__ = ["FieldProgram", "Fields", "LayerRow", "ReceptiveFieldReport", "receptive_field", "size_now"]

Pair = tuple[int, int]
FloatPair = tuple[float, float]
Flags = tuple[bool, bool]

_INF = math.inf


# --- the report -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerRow:
    """One layer. All pairs are (height, width) in pixels of the layer's own input, fields r in pixels of the image.

    `r_min` and `r_max` are at the layer's output, `r_min_in` at its input; `effective_stride` is the product of all
    strides up to and including the layer, along the path of r_min; `shape` is the shape of the output.
    """

    name: str
    kind: str
    kernel: Pair
    stride: FloatPair
    r_min_in: FloatPair
    r_min: FloatPair
    r_max: FloatPair
    effective_stride: FloatPair
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ReceptiveFieldReport:
    """What `receptive_field` found. `str()` prints a table, `to_dict()` gives plain data.

    Attributes:
        input_size: (C, H, W) in pixels; (H, W) is I_res.
        layers: one row a layer, in order of execution.
        i_min: max over layers of r_min (Richter and Pal, Eq. 7), per axis.
        i_min_table7: max over layers of max(r_min, k * S) with S the effective stride after the layer: the rule that
            Richter and Pal's Table 7 was made with.
        i_max: max over layers of r_max; infinite if a path runs through a global operation.
        unproductive: names of layers whose input has r_min >= I_res along both axes already.
        underutilized: names of layers whose own r_min >= I_res along both axes; contains the unproductive ones.
        border_layer: the first unproductive layer, or None.
        aligned: whether wherever paths meet they have one effective stride. (Araujo et al. ask in addition that their
            centres agree, which is not looked at.)
        not_understood: operations without a rule, taken as if they left the receptive field alone, and how often.
    """

    input_size: tuple[int, int, int]
    layers: tuple[LayerRow, ...]
    i_min: FloatPair
    i_min_table7: FloatPair
    i_max: FloatPair
    unproductive: tuple[str, ...]
    underutilized: tuple[str, ...]
    border_layer: str | None
    aligned: bool
    not_understood: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as dicts, lists, strings and numbers; an infinite field is the float `inf`."""
        rows = [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(row).items()} for row in self.layers]
        return {
            "input_size": list(self.input_size),
            "i_min": list(self.i_min),
            "i_min_table7": list(self.i_min_table7),
            "i_max": list(self.i_max),
            "unproductive": list(self.unproductive),
            "underutilized": list(self.underutilized),
            "border_layer": self.border_layer,
            "aligned": self.aligned,
            "not_understood": dict(self.not_understood),
            "layers": rows,
        }

    def __str__(self) -> str:
        head = ("layer", "kind", "kernel", "stride", "r_min", "r_max", "S", "output", "")
        mark = {
            **dict.fromkeys(self.underutilized, "underutilized"),
            **dict.fromkeys(self.unproductive, "unproductive"),
        }
        cells = [
            (
                row.name,
                row.kind,
                _show(row.kernel),
                _show(row.stride),
                _show(row.r_min),
                _show(row.r_max),
                _show(row.effective_stride),
                "x".join(str(n) for n in row.shape[1:]),
                mark.get(row.name, ""),
            )
            for row in self.layers
        ]
        widths = [max(len(line[i]) for line in (head, *cells)) for i in range(len(head))]
        lines = [
            "  ".join(
                c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line[:-1], widths, strict=False))
            )
            + (f"  {line[-1]}" if line[-1] else "")
            for line in (head, *cells)
        ]
        lines.append(
            f"I_min {_show(self.i_min)} (Table 7's rule: {_show(self.i_min_table7)}), I_max {_show(self.i_max)}, "
            f"I_res {_show(self.input_size[1:])}"
        )
        lines.append(
            f"{len(self.unproductive)} of {len(self.layers)} layers unproductive, {len(self.underutilized)} underutilized"
            + (f"; border layer {self.border_layer}" if self.border_layer is not None else "")
        )
        if not self.aligned:
            lines.append("not aligned: paths of different effective stride meet")
        if self.not_understood:
            names = ", ".join(f"{op} x{n}" for op, n in sorted(self.not_understood.items()))
            lines.append(f"operations without a rule: {names}")
        return "\n".join(lines)


def _show(pair: Sequence[float]) -> str:
    """One number if height and width agree, else both; rounded to 0.1."""
    h, w = (f"{round(v, 1):g}" if math.isfinite(v) else "inf" for v in pair)
    return h if h == w else f"{h}x{w}"


# --- the program: what a traced model does to receptive fields, layer by layer ----------------------------------------


class _Axis(NamedTuple):
    """A value's field along one axis: r_min and r_max, each with the effective stride of its path."""

    r_min: float = 1.0
    s_min: float = 1.0
    r_max: float = 1.0
    s_max: float = 1.0


_State = tuple[_Axis, _Axis]
_Windows = dict[int, tuple[Pair, FloatPair]]  # kernel and stride of each layer, by slot
_GLOBAL_AXIS = _Axis(_INF, 1.0, _INF, 1.0)
_START: _State = (_Axis(), _Axis())
_GLOBAL: _State = (_GLOBAL_AXIS, _GLOBAL_AXIS)


@dataclass(frozen=True)
class _Layer:
    """A window slides over the map.

    `resize` gives kernel and stride where they depend on the sizes. `whole` are the input's dimensions, as axis class and
    size at tracing, of a convolution that is a linear layer where its kernel covers them (VGG's first one in timm).
    """

    source: int
    name: str
    node: int
    kind: str
    kernel: Pair
    stride: FloatPair
    axes: Pair  # the window's first and second dimension run along these axes: (0, 1) unless the map is transposed
    resize: Resize | None = None
    reduce: str = ""
    whole: tuple[tuple[int | None, int], ...] = ()


@dataclass(frozen=True)
class _Stride:
    """Every n-th pixel is kept, by no layer: a strided slice."""

    source: int
    stride: Pair


@dataclass(frozen=True)
class _Join:
    """Paths meet."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class _Spread:
    """The axes become global; with `beside` each pixel also keeps its own path (softmax)."""

    source: int
    axes: Flags
    beside: bool = False


_Step = _Layer | _Stride | _Join | _Spread


@dataclass(frozen=True)
class Fields:
    """Receptive fields of all layers at some sizes: the figures of a `ReceptiveFieldReport` without its rows."""

    i_min: FloatPair
    i_min_table7: FloatPair
    i_max: FloatPair
    unproductive: tuple[str, ...]
    underutilized: tuple[str, ...]
    aligned: bool


class FieldProgram:
    """The layers, joins and global operations of a traced model, for receptive fields at any sizes without a new trace.

    Args:
        graph: of `dynpool.trace`.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[_Step] = []
        _Compiler(self).run()
        self.layers = [(at, step) for at, step in enumerate(self.steps, 2) if isinstance(step, _Layer)]
        self._fixed = {
            at: (step.kernel, step.stride) for at, step in self.layers if step.resize is None
        }  # kernel and stride by slot

    def fields(self, axis_sizes: Mapping[int, int] | None = None, i_res: Pair | None = None) -> Fields:
        """Receptive fields when the axis classes have the given sizes.

        Args:
            axis_sizes: of `Graph.axis_sizes`; None: those at tracing.
            i_res: (H, W) of the input in pixels; None: that at tracing.
        """
        return self._evaluate(axis_sizes or {}, i_res or self.graph.input_size[1:])[2]

    def report(self) -> ReceptiveFieldReport:
        """The full report at the sizes of the trace."""
        windows, states, found = self._evaluate({}, self.graph.input_size[1:])
        rows = []
        for at, layer in self.layers:
            kernel, stride = windows[at]
            before, after = states[layer.source], states[at]
            if after[0].r_min == after[1].r_min == _INF:
                continue
            rows.append(
                LayerRow(
                    layer.name,
                    layer.kind,
                    kernel,
                    stride,
                    (before[0].r_min, before[1].r_min),
                    (after[0].r_min, after[1].r_min),
                    (after[0].r_max, after[1].r_max),
                    (after[0].s_min, after[1].s_min),
                    self.graph.values[self.graph.nodes[layer.node].outputs[0]].shape,
                )
            )
        return ReceptiveFieldReport(
            self.graph.input_size,
            tuple(rows),
            found.i_min,
            found.i_min_table7,
            found.i_max,
            found.unproductive,
            found.underutilized,
            found.unproductive[0] if found.unproductive else None,
            found.aligned,
            dict(self.graph.not_understood),
        )

    def _evaluate(self, axis_sizes: Mapping[int, int], i_res: Pair) -> tuple[_Windows, list[_State], Fields]:
        windows = self._windows(axis_sizes)
        states, aligned = self._run(windows, axis_sizes)
        return windows, states, self._summary(states, windows, aligned, i_res)

    def _windows(self, axis_sizes: Mapping[int, int]) -> _Windows:
        """Kernel and stride of every layer, by slot."""
        windows = dict(self._fixed)
        for at, layer in self.layers:
            if layer.resize is not None:
                r = layer.resize
                pairs = [
                    _footprint(
                        layer,
                        size_now(self.graph, r.source[i], r.in_size[i], axis_sizes),
                        size_now(self.graph, r.target[i], r.out_size[i], axis_sizes),
                    )
                    for i in layer.axes
                ]
                first, second = pairs
                windows[at] = ((first[0], second[0]), (first[1], second[1]))
        return windows

    def _run(self, windows: _Windows, axis_sizes: Mapping[int, int]) -> tuple[list[_State], bool]:
        states: list[_State] = [_START, _GLOBAL]
        aligned = True
        for at, step in enumerate(self.steps, 2):
            if isinstance(step, _Layer):
                (kh, kw), (sh, sw) = windows[at]
                h, w = states[step.source]
                if step.whole and all(
                    k == size_now(self.graph, axis, n, axis_sizes)
                    for (axis, n), k in zip(step.whole, (kh, kw), strict=True)
                ):
                    states.append(_GLOBAL)
                    continue
                states.append((_slide(h, kh, sh), _slide(w, kw, sw)))
            elif isinstance(step, _Join):
                inputs = [states[source] for source in step.sources]
                joined = (_join([s[0] for s in inputs]), _join([s[1] for s in inputs]))
                aligned = aligned and all(_one_stride([s[axis] for s in inputs]) for axis in (0, 1))
                states.append(joined)
            elif isinstance(step, _Stride):
                h, w = states[step.source]
                states.append((_slide(h, 1, step.stride[0]), _slide(w, 1, step.stride[1])))
            else:
                h, w = (
                    (_join([own, _GLOBAL_AXIS]) if step.beside else _GLOBAL_AXIS) if spread else own
                    for own, spread in zip(states[step.source], step.axes, strict=True)
                )
                states.append((h, w))
        return states, aligned

    def _summary(self, states: list[_State], windows: _Windows, aligned: bool, i_res: Pair) -> Fields:
        i_min, table7, i_max = [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]
        unproductive: list[str] = []
        underutilized: list[str] = []
        for at, layer in self.layers:
            before, after = states[layer.source], states[at]
            if (
                after[0].r_min == after[1].r_min == _INF
            ):  # it covers the whole map at these sizes, or follows one that does
                continue
            for axis in (0, 1):
                own = after[axis]
                if own.r_min < _INF:
                    i_min[axis] = max(i_min[axis], own.r_min)
                    table7[axis] = max(table7[axis], own.r_min, windows[at][0][axis] * own.s_min)
                i_max[axis] = max(i_max[axis], own.r_max)
            if before[0].r_min >= i_res[0] and before[1].r_min >= i_res[1]:
                unproductive.append(layer.name)
            if after[0].r_min >= i_res[0] and after[1].r_min >= i_res[1]:
                underutilized.append(layer.name)
        return Fields(
            (i_min[0], i_min[1]),
            (table7[0], table7[1]),
            (i_max[0], i_max[1]),
            tuple(unproductive),
            tuple(underutilized),
            aligned,
        )


def size_now(graph: Graph, axis: int | None, traced: int, sizes: Mapping[int, int]) -> int:
    """Size of a dimension in pixels at the sizes of `Graph.axis_sizes`, from its axis class and its size at tracing."""
    if not sizes or axis is None:
        return traced
    root = graph.classes.find(axis)
    return sizes[root] + traced - graph.classes.reference(root) if root in sizes else traced


def _slide(a: _Axis, kernel: int, stride: float) -> _Axis:
    grown = kernel - 1
    return _Axis(a.r_min + grown * a.s_min, a.s_min * stride, a.r_max + grown * a.s_max, a.s_max * stride)


def _join(axes: Sequence[_Axis]) -> _Axis:
    low = min((a.r_min, a.s_min) for a in axes)
    high = max((a.r_max, a.s_max) for a in axes)
    return _Axis(*low, *high)


def _one_stride(axes: Sequence[_Axis]) -> bool:
    strides = [a.s_min for a in axes if a.r_min < _INF] + [a.s_max for a in axes if a.r_max < _INF]
    return not strides or math.isclose(min(strides), max(strides), rel_tol=1e-9)


def _footprint(layer: _Layer, size_in: int, size_out: int) -> tuple[int, float]:
    """Kernel size and stride of a resizer along one axis."""
    stride = effective_stride(size_in, size_out)
    if layer.kind == "dynopool2d":
        if layer.reduce == "sample":  # one point at i * size_in / size_out
            return (1 if size_in % size_out == 0 else 2), stride
        return effective_kernel(size_in, size_out), stride
    return (1 if size_in == size_out else layer.kernel[0]), stride


# --- compiling a graph ------------------------------------------------------------------------------------------------

_POOLS = frozenset({"aten.max_pool2d_with_indices", "aten.max_pool2d", "aten.avg_pool2d"})
_CONVOLUTIONS = frozenset({"aten.convolution", "aten._convolution"})
_INTERPOLATIONS = {"aten.upsample_nearest2d": 1, "aten.upsample_bilinear2d": 2, "aten.upsample_bicubic2d": 4}
_REDUCTIONS = frozenset(
    f"aten.{name}"
    for name in [
        "mean",
        "sum",
        "amax",
        "amin",
        "max",
        "min",
        "prod",
        "any",
        "all",
        "var",
        "std",
        "var_mean",
        "std_mean",
        "logsumexp",
        "linalg_vector_norm",
        "norm",
    ]
)
_PRODUCTS = frozenset({"aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm"})
_SOFTMAXES = frozenset({"aten._softmax", "aten._log_softmax", "aten._safe_softmax"})
_WHOLE_MAP = ("aten._scaled_dot_product", "aten._fft", "aten._adaptive", "aten.adaptive")


class _Compiler:
    """Turns the nodes of a graph into steps; slot 0 is the input, slot 1 what is global, slot 2 + i step i's result."""

    def __init__(self, program: FieldProgram) -> None:
        self.graph = program.graph
        self.steps = program.steps
        self.slots: dict[int, int] = {self.graph.input_id: 0}  # by value; values without one carry no field
        self.spread: list[Flags] = [(False, False), (True, True)]  # by slot: which axes are global
        self.resizes = {resize.node: resize for resize in self.graph.resizes}
        self.names: dict[str, int] = {}
        self.direction: dict[int, int] = {}  # axis id -> 0 (height) or 1 (width)
        for i, dim in enumerate(self.graph.values[self.graph.input_id].dims[-2:]):
            if dim.axis is not None:
                self.direction[dim.axis] = i

    def run(self) -> None:
        for node in self.graph.nodes:
            sources = [v for v in node.inputs if v in self.slots]
            if sources:
                slot = self.rule(node, sources)
                for value in node.outputs:
                    self.slots[value] = slot

    def rule(self, node: Node, sources: list[int]) -> int:
        if node.op in _CONVOLUTIONS and len(self.shape(node.args[1])) == 4:
            return self.with_others(node, sources, self.convolution)
        if node.op in _POOLS:
            kernel = _pair(node.args[1])
            stride = _pair(_arg(node, 2) or kernel)
            dilation = _pair(_arg(node, 4, 1)) if "max" in node.op else (1, 1)
            return self.window(node, _dilated(kernel, dilation), (float(stride[0]), float(stride[1])))
        if node.op == "dynpool.dynopool2d":
            return self.with_others(node, sources, self.resizer)
        if node.op in _INTERPOLATIONS:
            return self.resizer(node)
        if node.op.startswith(_WHOLE_MAP):
            return 1
        if node.op in _REDUCTIONS:
            return self.reduction(node, sources)
        if node.op in _PRODUCTS:
            return self.product(node, sources)
        if node.op in _SOFTMAXES:
            return self.global_along(self.slots[sources[0]], self.axes_of(sources[0], [node.args[1]]), beside=True)
        if node.op == "aten.slice" and _arg(node, 4, 1) > 1:
            return self.strided_slice(node, sources[0])
        return self.join([self.slots[v] for v in sources])

    # -- rules --

    def convolution(self, node: Node) -> int:
        kernel = _pair(self.shape(node.args[1])[-2:])
        stride, dilation = _pair(node.args[3]), _pair(node.args[5])
        kernel = _dilated(kernel, dilation)
        if node.args[6]:  # transposed: a pixel of the output sees this many of the input, at most
            seen = (math.ceil(kernel[0] / stride[0]), math.ceil(kernel[1] / stride[1]))
            return self.window(node, seen, (1 / stride[0], 1 / stride[1]))
        linear = stride == (1, 1) and _pair(node.args[4]) == (0, 0) and min(kernel) > 1
        whole = tuple((d.axis, d.size) for d in self.dims(node.inputs[0])[-2:]) if linear else ()
        return self.window(node, kernel, (float(stride[0]), float(stride[1])), whole=whole)

    def resizer(self, node: Node) -> int:
        points = _INTERPOLATIONS.get(node.op, 1)
        reduce = _arg(node, 4, "max") if node.op == "dynpool.dynopool2d" else ""
        return self.window(node, (points, points), (1.0, 1.0), resize=self.resizes[node.index], reduce=reduce)

    def window(
        self,
        node: Node,
        kernel: Pair,
        stride: FloatPair,
        *,
        resize: Resize | None = None,
        reduce: str = "",
        whole: tuple[tuple[int | None, int], ...] = (),
    ) -> int:
        source = self.slots[node.inputs[0]]
        if all(self.spread[source]):
            return source
        first, second = (self.direction.get(-1 if d.axis is None else d.axis) for d in self.dims(node.inputs[0])[-2:])
        turned = (first == 1 and second != 1) or (second == 0 and first != 0)
        axes = (1, 0) if turned else (0, 1)
        opened = self.resizes.get(node.index)
        if opened is not None:
            for axis, way in zip(opened.target, axes, strict=True):
                if axis is not None:
                    self.direction[axis] = way
        kind = node.op.split(".")[-1].removesuffix("_with_indices")
        if turned:
            kernel, stride, whole = (kernel[1], kernel[0]), (stride[1], stride[0]), whole[::-1]
        layer = _Layer(source, self.name(node, kind), node.index, kind, kernel, stride, axes, resize, reduce, whole)
        return self.add(layer, self.spread[source])

    def with_others(self, node: Node, sources: list[int], rule: Callable[[Node], int]) -> int:
        """A layer whose weight or alpha depends on the image as well sees all of it, on a second path."""
        if sources[0] != node.inputs[0]:
            return 1
        slot = rule(node)
        return self.join([slot, 1]) if len(sources) > 1 else slot

    def reduction(self, node: Node, sources: list[int]) -> int:
        over = _arg(node, 2 if node.op in ("aten.linalg_vector_norm", "aten.norm") else 1, node.kwargs.get("dim"))
        if isinstance(over, ValueRef):  # the elementwise max of two tensors
            return self.join([self.slots[v] for v in sources])
        rank = len(self.graph.values[sources[0]].shape)
        dims = list(range(rank)) if over is None or over == [] else [over] if isinstance(over, int) else list(over)
        return self.global_along(self.slots[sources[0]], self.axes_of(sources[0], dims))

    def product(self, node: Node, sources: list[int]) -> int:
        """Matrix product: what it sums over becomes global."""
        a, b = node.inputs[-2:]
        slots = [self.slots[v] for v in sources if v not in (a, b)]
        for value, dim in ((a, -1), (b, -2)):
            if value in self.slots:
                slots.append(self.global_along(self.slots[value], self.axes_of(value, [dim])))
        return self.join(slots)

    def strided_slice(self, node: Node, source: int) -> int:
        along = self.axes_of(source, [_arg(node, 1, 0)])
        slot = self.slots[source]
        if not any(along):
            return slot
        step = node.args[4]
        return self.add(_Stride(slot, (step if along[0] else 1, step if along[1] else 1)), self.spread[slot])

    # -- building blocks --

    def add(self, step: _Step, spread: Flags) -> int:
        self.steps.append(step)
        self.spread.append(spread)
        return len(self.spread) - 1

    def join(self, slots: Sequence[int]) -> int:
        distinct = tuple(dict.fromkeys(slots))
        if len(distinct) == 1:
            return distinct[0]
        h, w = (all(self.spread[s][axis] for s in distinct) for axis in (0, 1))
        return 1 if h and w else self.add(_Join(distinct), (h, w))

    def global_along(self, slot: int, axes: Flags, *, beside: bool = False) -> int:
        if not any(axes) or all(self.spread[slot]):
            return slot
        if beside:
            return self.add(_Spread(slot, axes, beside), self.spread[slot])
        h, w = (a or b for a, b in zip(self.spread[slot], axes, strict=True))
        return 1 if h and w else self.add(_Spread(slot, axes), (h, w))

    def axes_of(self, value: int, dims: Sequence[int]) -> Flags:
        """Which of height and width the dimensions hold.

        An axis that collapsed to one pixel or was pinned is no longer marked. It is taken to be where it lies in an
        image batch, (N, C, H, W).
        """
        held = self.dims(value)
        rank = len(held)
        found = {self.direction.get(axis) for d in dims for axis in held[d].axes}
        marked = {self.direction.get(axis) for d in held for axis in d.axes}
        if rank == 4:
            found |= {d % rank - 2 for d in dims if d % rank - 2 in {0, 1} - marked and not held[d].axes}
        return (0 in found, 1 in found)

    def dims(self, value: int) -> tuple[Any, ...]:
        return self.graph.values[value].dims

    def shape(self, ref: ValueRef) -> tuple[int, ...]:
        return self.graph.values[ref.id].shape

    def name(self, node: Node, kind: str) -> str:
        """The module's path, or the operation's kind in the model's own forward; numbered when it runs again."""
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


def receptive_field(model: nn.Module, input_size: Sequence[int]) -> ReceptiveFieldReport:
    """Receptive fields of all layers of a model, its I_min and I_max, and the layers its input is too small for.

    Converted models are looked at with the sizes their alphas give now. A resizer's kernel is its footprint in pixels,
    its stride the real number input / output, so that fields may be fractional.

    Args:
        model: any module that takes one image batch; it is traced on meta tensors and left untouched.
        input_size: (C, H, W) in pixels. (H, W) is I_res, which fields are compared with.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a bad `input_size`, or when the model cannot run at it.

    Example:
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> report = receptive_field(vgg, (3, 32, 32))
        >>> report.i_min, [row.r_min[0] for row in report.layers]
        ((8.0, 8.0), [3.0, 4.0, 8.0])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    return FieldProgram(trace(model, check_input_size(input_size))).report()
