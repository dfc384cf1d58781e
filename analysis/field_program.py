"""What a traced model does to receptive fields: a short list of steps, evaluated at any sizes without a new trace."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dynpool.axes import Resize
from dynpool.graph import Graph
from dynpool.resizer import LearnedResizer2d
from dynpool.sizes import effective_kernel, effective_stride, sample_kernel

__all__ = ["FieldProgram", "Fields", "Join", "Layer", "LayerRow", "Spread", "Step", "Stride", "size_now"]

Pair = tuple[int, int]
FloatPair = tuple[float, float]

_INF = math.inf


@dataclass(frozen=True)
class LayerRow:
    """One layer. Pairs are (height, width); kernel and stride in pixels of the layer's input, fields in the image's.

    `kernel` is the narrowest where a resizer has several paths.
    `r_min` and `r_max` are at the layer's output, `r_min_in` at its input; `effective_stride` is the product of all
    strides up to and including the layer, along the path of r_min; `shape` is the shape of the output.
    """

    name: str
    kind: str
    kernel: FloatPair
    stride: FloatPair
    r_min_in: FloatPair
    r_min: FloatPair
    r_max: FloatPair
    effective_stride: FloatPair
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Fields:
    """The figures of a `ReceptiveFieldReport` without its rows."""

    i_min: FloatPair
    i_min_table7: FloatPair
    i_max: FloatPair
    unproductive: tuple[str, ...]
    underutilized: tuple[str, ...]
    aligned: bool


# --- steps: each reads earlier slots; slot 0 is the input, slot 1 what is global, slot 2 + i the result of step i -----


@dataclass(frozen=True)
class Layer:
    """A window slides over the map.

    `resize` gives kernel and stride where they depend on the sizes. `whole` are the input's dimensions, as axis class
    and size at tracing, of a convolution that is a linear layer where its kernel covers them (VGG's first, in timm).
    """

    source: int
    name: str
    node: int
    kind: str
    kernel: Pair
    stride: FloatPair
    order: Pair = (0, 1)  # which of the window's dimensions runs along height, and which along width
    resize: Resize | None = None
    reduce: str = ""
    resizer: LearnedResizer2d | None = None  # says which pixels it sees, where it is no single operation
    whole: tuple[tuple[int | None, int], ...] = ()


@dataclass(frozen=True)
class Stride:
    """Every n-th pixel is kept, by no layer: a strided slice."""

    source: int
    stride: Pair


@dataclass(frozen=True)
class Join:
    """Paths meet."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class Spread:
    """Axes become global; with `beside`, each pixel also keeps its own path (softmax)."""

    source: int
    axes: tuple[bool, bool]
    beside: bool = False


Step = Layer | Stride | Join | Spread


class _Axis(NamedTuple):
    """A value's field along one axis: r_min and r_max, each with the effective stride of its path."""

    r_min: float = 1.0
    s_min: float = 1.0
    r_max: float = 1.0
    s_max: float = 1.0


_State = tuple[_Axis, _Axis]
_Windows = dict[int, tuple[FloatPair, FloatPair, FloatPair]]  # narrowest kernel, stride and widest kernel, by slot
_GLOBAL_AXIS = _Axis(_INF, 1.0, _INF, 1.0)
_START: _State = (_Axis(), _Axis())
_GLOBAL: _State = (_GLOBAL_AXIS, _GLOBAL_AXIS)


class FieldProgram:
    """The layers, joins and global operations of a traced model; `analysis.field_rules.compile_fields` makes it.

    Args:
        graph: the trace.
        steps: what it does to receptive fields, in order of execution.
    """

    def __init__(self, graph: Graph, steps: Sequence[Step]) -> None:
        self.graph = graph
        self.steps = tuple(steps)
        self._layers = [(slot, step) for slot, step in enumerate(self.steps, 2) if isinstance(step, Layer)]
        self._fixed: _Windows = {
            slot: (layer.kernel, layer.stride, layer.kernel) for slot, layer in self._layers if layer.resize is None
        }

    def fields(self, axis_sizes: Mapping[int, int] | None = None) -> Fields:
        """Receptive fields when the axis classes have the given sizes.

        Args:
            axis_sizes: of `Graph.axis_sizes`; None: those at tracing.
        """
        sizes = axis_sizes or {}
        windows = self._windows(sizes)
        states, aligned = self._run(windows, sizes)
        i_min, table7, i_max = [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]
        unproductive: list[str] = []
        underutilized: list[str] = []
        res_h, res_w = self.graph.input_size[1:]
        for slot, layer in self._layers:
            before, after = states[layer.source], states[slot]
            if _is_global(after):
                continue
            for axis in (0, 1):
                own = after[axis]
                if own.r_min < _INF:
                    i_min[axis] = max(i_min[axis], own.r_min)
                    table7[axis] = max(table7[axis], own.r_min, windows[slot][0][axis] * own.s_min)
                i_max[axis] = max(i_max[axis], own.r_max)
            if before[0].r_min >= res_h and before[1].r_min >= res_w:
                unproductive.append(layer.name)
            if after[0].r_min >= res_h and after[1].r_min >= res_w:
                underutilized.append(layer.name)
        return Fields(
            (i_min[0], i_min[1]),
            (table7[0], table7[1]),
            (i_max[0], i_max[1]),
            tuple(unproductive),
            tuple(underutilized),
            aligned,
        )

    def rows(self) -> tuple[LayerRow, ...]:
        """All layers at the sizes of the trace, in order of execution."""
        windows = self._windows({})
        states, _ = self._run(windows, {})
        rows = []
        for slot, layer in self._layers:
            (h_in, w_in), (h, w) = states[layer.source], states[slot]
            if _is_global((h, w)):
                continue
            rows.append(
                LayerRow(
                    name=layer.name,
                    kind=layer.kind,
                    kernel=windows[slot][0],
                    stride=windows[slot][1],
                    r_min_in=(h_in.r_min, w_in.r_min),
                    r_min=(h.r_min, w.r_min),
                    r_max=(h.r_max, w.r_max),
                    effective_stride=(h.s_min, w.s_min),
                    shape=self.graph.values[self.graph.nodes[layer.node].outputs[0]].shape,
                )
            )
        return tuple(rows)

    def _windows(self, sizes: Mapping[int, int]) -> _Windows:
        windows = dict(self._fixed)
        for slot, layer in self._layers:
            resize = layer.resize
            if resize is not None:
                (kh, sh, wide_h), (kw, sw, wide_w) = (
                    _footprint(
                        layer,
                        size_now(self.graph, resize.source[i], resize.in_size[i], sizes),
                        size_now(self.graph, resize.target[i], resize.out_size[i], sizes),
                        i,
                    )
                    for i in layer.order
                )
                windows[slot] = ((kh, kw), (sh, sw), (wide_h, wide_w))
        return windows

    def _run(self, windows: _Windows, sizes: Mapping[int, int]) -> tuple[list[_State], bool]:
        states: list[_State] = [_START, _GLOBAL]
        aligned = True
        for slot, step in enumerate(self.steps, 2):
            if isinstance(step, Join):
                inputs = [states[source] for source in step.sources]
                h, w = [s[0] for s in inputs], [s[1] for s in inputs]
                aligned = aligned and _one_stride(h) and _one_stride(w)
                states.append((_join(h), _join(w)))
                continue
            before_h, before_w = states[step.source]
            if isinstance(step, Layer):
                kernel, stride, wide = windows[slot]
                if step.whole and self._covers(step, kernel, sizes):
                    states.append(_GLOBAL)
                else:
                    states.append(
                        (
                            _slide(before_h, kernel[0], stride[0], wide[0]),
                            _slide(before_w, kernel[1], stride[1], wide[1]),
                        )
                    )
            elif isinstance(step, Stride):
                states.append((_slide(before_h, 1, step.stride[0], 1), _slide(before_w, 1, step.stride[1], 1)))
            else:
                states.append((_spread(before_h, step, 0), _spread(before_w, step, 1)))
        return states, aligned

    def _covers(self, layer: Layer, kernel: FloatPair, sizes: Mapping[int, int]) -> bool:
        now = tuple(size_now(self.graph, axis, traced, sizes) for axis, traced in layer.whole)
        return now == kernel


def size_now(graph: Graph, axis: int | None, traced: int, sizes: Mapping[int, int]) -> int:
    """Size of a dimension in pixels at the sizes of `Graph.axis_sizes`, from its axis class and its size at tracing."""
    if not sizes or axis is None:
        return traced
    root = graph.classes.find(axis)
    return sizes[root] + traced - graph.classes.reference(root) if root in sizes else traced


def _is_global(state: _State) -> bool:
    """Whether what made it covers the whole map, or follows something that does: then it is no layer."""
    return state[0].r_min == _INF and state[1].r_min == _INF


def _slide(a: _Axis, narrow: float, stride: float, wide: float) -> _Axis:
    """The field after a window that is so narrow on one path and so wide on another."""
    return _Axis(a.r_min + (narrow - 1) * a.s_min, a.s_min * stride, a.r_max + (wide - 1) * a.s_max, a.s_max * stride)


def _join(axes: Sequence[_Axis]) -> _Axis:
    low = min((a.r_min, a.s_min) for a in axes)
    high = max((a.r_max, a.s_max) for a in axes)
    return _Axis(*low, *high)


def _spread(a: _Axis, step: Spread, axis: int) -> _Axis:
    if not step.axes[axis]:
        return a
    return a._replace(r_max=_INF) if step.beside else _GLOBAL_AXIS


def _one_stride(axes: Sequence[_Axis]) -> bool:
    strides = [a.s_min for a in axes if a.r_min < _INF] + [a.s_max for a in axes if a.r_max < _INF]
    return not strides or math.isclose(min(strides), max(strides), rel_tol=1e-9)


def _footprint(layer: Layer, size_in: int, size_out: int, axis: int) -> tuple[float, float, float]:
    """Narrowest kernel size, stride and widest kernel size of a resizer along one axis."""
    stride = effective_stride(size_in, size_out)
    if layer.resizer is not None:
        narrow, wide = layer.resizer.footprint(size_in, size_out, axis)
        return narrow, stride, wide
    if layer.kind != "dynopool2d":  # interpolation between so many pixels
        seen = 1 if size_in == size_out else layer.kernel[0]
    else:
        seen = (sample_kernel if layer.reduce == "sample" else effective_kernel)(size_in, size_out)
    return seen, stride, seen
