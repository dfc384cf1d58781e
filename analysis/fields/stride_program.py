"""Receptive fields and MACs of a traced model at many assignments of strides at once, without a new trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dynpool.graph.axes import Resize
from dynpool.graph.ir import Graph
from dynpool.size_math import window_output_size

from .program import FieldProgram
from .steps import Join, Layer, Resized, Spread, Step

__all__ = ["Outcome", "StrideProgram"]

Pair = tuple[int, int]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_Field = tuple[Floats, Floats]  # r_min and the effective stride of its path, per candidate and axis
_Sizes = dict[int, Ints]  # by axis class

_CHUNK = 512  # candidates at a time, so that the fields of all layers stay within some ten megabytes


@dataclass(frozen=True)
class Outcome:
    """What each candidate comes to: arrays with one row a candidate.

    `i_min` is (height, width) in pixels of the input; `macs` a count; `agrees` whether all maps that meet still have
    one size by the windows' arithmetic and pinned maps keep theirs (SAME padding may make a False of a candidate that
    runs, so that it is a doubt, not a verdict).
    """

    i_min: Floats
    macs: Floats
    agrees: Flags


class StrideProgram:
    """Evaluates strides for the windows of a trace made with `every_window`.

    A pool whose window is its stride and has no padding is taken as gone where its stride becomes 1: its kernel is 1.

    Args:
        graph: the trace; `windows` are its convolutions and pools in order of execution.
        program: what it does to receptive fields.
        input_hw: (H, W) in pixels of the input that sizes and MACs are for; the trace may be at another.
    """

    def __init__(self, graph: Graph, program: FieldProgram, input_hw: Pair) -> None:
        self.graph, self.program, self.input_hw = graph, program, input_hw
        self.windows: tuple[Resize, ...] = tuple(r for r in graph.resizes if _slides(r))
        self.row = {w.node: i for i, w in enumerate(self.windows)}
        self.strides: Ints = np.array([w.stride for w in self.windows], dtype=np.int64).reshape(-1, 2)
        self._kernels: Ints = np.array([w.kernel for w in self.windows], dtype=np.int64).reshape(-1, 2)
        self._pools = np.array([[is_tiling_pool(w, axis) for axis in (0, 1)] for w in self.windows]).reshape(-1, 2)

    def evaluate(self, strides: Ints, *, windows_cover: bool = False) -> Outcome:
        """I_min, MACs and agreement of each assignment.

        Args:
            strides: integers of shape (candidates, windows, 2), pairs (height, width).
            windows_cover: take every convolution that may cover its whole map (a linear layer in disguise) to do so at
                all sizes. Then I_min never falls when a stride grows, and is never more than it really is.
        """
        parts = [self._evaluate(strides[i : i + _CHUNK], windows_cover) for i in range(0, len(strides), _CHUNK)]
        return Outcome(
            np.concatenate([p.i_min for p in parts]),
            np.concatenate([p.macs for p in parts]),
            np.concatenate([p.agrees for p in parts]),
        )

    def _evaluate(self, strides: Ints, windows_cover: bool) -> Outcome:
        kernels = np.where(self._pools & (strides == 1), 1, self._kernels)
        sizes, agrees = self._sizes(strides, kernels)
        i_min = self._i_min(strides, kernels, sizes, windows_cover)
        return Outcome(i_min, self._macs(sizes, len(strides)), agrees)

    # -- sizes and MACs --

    def _sizes(self, strides: Ints, kernels: Ints) -> tuple[_Sizes, Flags]:
        """Sizes of all axis classes in pixels, and whether every class has but one."""
        graph, count = self.graph, len(strides)
        sizes: _Sizes = {}
        agrees = np.ones(count, dtype=bool)
        for dim, n in zip(graph.dims(graph.input_id)[-2:], self.input_hw, strict=True):
            if dim.axis is not None:
                sizes[graph.classes.find(dim.axis)] = np.full(count, n)
        for resize in graph.resizes:
            if resize.given:
                continue
            for axis, target in enumerate(resize.target):
                if target is None:
                    continue
                out = self._output(resize, axis, strides, kernels, sizes)
                root = graph.classes.find(target)
                reference = out - (resize.out_size[axis] - graph.classes.reference(target))
                known = graph.classes.size(root, sizes)
                if known is None:
                    known = sizes[root] = np.maximum(reference, 1)
                agrees &= (known == reference) & (out >= 1)
        for axis in graph.classes.defined():
            graph.classes.size(axis, sizes)
        if self.input_hw == graph.input_size[1:]:
            for root, now in sizes.items():
                if graph.classes.pinned(root) is not None:
                    agrees &= now == graph.classes.reference(root)
        return sizes, agrees

    def _output(self, resize: Resize, axis: int, strides: Ints, kernels: Ints, sizes: _Sizes) -> Ints:
        """Output pixels of a window or an upsampling along one axis."""
        n = self._size(resize.source[axis], resize.in_size[axis], sizes, len(strides))
        row = self.row.get(resize.node)
        if row is not None:
            kernel, stride = kernels[:, row, axis], strides[:, row, axis]
            padding, dilation = resize.padding[axis], resize.dilation[axis]
            return window_output_size(n, kernel, stride, padding, dilation, ceil_mode=resize.ceil_mode)
        grown = 0.0 if resize.scale is None else (n - resize.in_size[axis]) * resize.scale[axis]
        return np.full(len(strides), resize.out_size[axis]) + np.floor(grown).astype(np.int64)

    def _size(self, axis: int | None, traced: int, sizes: _Sizes, count: int) -> Ints:
        known = None if axis is None else self.graph.classes.size(axis, sizes)
        if axis is None or known is None:
            return np.full(count, traced)
        return known + (traced - self.graph.classes.reference(axis))

    def _macs(self, sizes: _Sizes, count: int) -> Floats:
        total = np.zeros(count)
        for mac in self.graph.macs:
            now = np.full(count, float(mac.macs))
            for axis, traced in mac.axes:
                now *= self._size(axis, traced, sizes, count) / traced
            total += now
        return total

    # -- receptive fields --

    def _i_min(self, strides: Ints, kernels: Ints, sizes: _Sizes, windows_cover: bool) -> Floats:
        count = len(strides)
        start = (np.ones((count, 2)), np.ones((count, 2)))
        everywhere = (np.full((count, 2), math.inf), np.ones((count, 2)))
        states: list[_Field] = [start, everywhere]
        i_min = np.ones((count, 2))
        for step in self.program.steps:
            state = self._step(step, states, strides, kernels, sizes)
            if windows_cover and isinstance(step, Layer) and step.whole:
                state = everywhere
            states.append(state)
            if isinstance(step, Layer) and step.name:
                i_min = np.maximum(i_min, np.where(np.isfinite(state[0]), state[0], 1.0))
        return i_min

    def _step(self, step: Step, states: list[_Field], strides: Ints, kernels: Ints, sizes: _Sizes) -> _Field:
        if isinstance(step, Join):
            return _join([states[source] for source in step.sources])
        r, s = states[step.source]
        if isinstance(step, Layer):
            kernel, stride = self._window(step, strides, kernels, sizes)
            grown = r + (kernel - 1) * s
            if step.whole:
                grown = np.where(self._covers(step, kernel, sizes)[:, None], math.inf, grown)
            return grown, s * stride
        return _spread(step, r, s)

    def _window(self, layer: Layer, strides: Ints, kernels: Ints, sizes: _Sizes) -> tuple[Floats, Floats]:
        """Kernel and stride along height and width, (candidates, 2) each."""
        row, count = self.row.get(layer.node), len(strides)
        pairs = []
        for window, dim in zip(layer.windows, layer.dims or (None, None), strict=True):
            if isinstance(window, Resized):
                pairs.append(self._resized(window, sizes, count))
                continue
            kernel, stride = np.full(count, float(window.shortest)), np.full(count, float(window.stride))
            if row is not None and dim is not None:  # positions apart count as many times as they did at tracing
                axis = dim - len(self._shape(layer))
                traced = self.windows[row]
                if traced.kernel[axis] > 1:
                    kernel = 1 + (kernel - 1) * (kernels[:, row, axis] - 1) / (traced.kernel[axis] - 1)
                stride *= strides[:, row, axis] / traced.stride[axis]
            pairs.append((kernel, stride))
        return np.stack([k for k, _ in pairs], axis=1), np.stack([s for _, s in pairs], axis=1)

    def _shape(self, layer: Layer) -> tuple[int, ...]:
        return self.graph.values[self.graph.nodes[layer.node].outputs[0]].shape

    def _resized(self, window: Resized, sizes: _Sizes, count: int) -> tuple[Floats, Floats]:
        """Kernel and stride of a resizer, for each candidate's sizes."""
        source, target = window.axes(self.graph)
        before = self._size(source, window.size_in, sizes, count)
        after = self._size(target, window.size_out, sizes, count)
        now = [window.window(int(n), int(m)) for n, m in zip(before, after, strict=True)]
        return np.array([w.shortest for w in now]), np.array([w.stride for w in now])

    def _covers(self, layer: Layer, kernel: Floats, sizes: _Sizes) -> Flags:
        dims = ((self.graph.dims(value)[dim].axis, traced) for value, dim, traced in layer.whole)
        now = [self._size(axis, traced, sizes, len(kernel)) for axis, traced in dims]
        return (np.stack(now, axis=1) == kernel).all(axis=1)


def _slides(resize: Resize) -> bool:
    """Whether a convolution or a pool resizes, whose stride could be another."""
    return not (resize.fixed or resize.given or resize.learned) and resize.scale is None


def is_tiling_pool(window: Resize, axis: int) -> bool:
    """Whether a pool cuts the axis into windows side by side, so that nothing is left of it at stride 1."""
    tiles = window.kernel[axis] == window.stride[axis] > 1 and window.padding[axis] == 0
    return tiles and "pool" in window.kind


def _join(fields: Sequence[_Field]) -> _Field:
    """The shortest path; of equal ones, that of the smallest stride."""
    r, s = fields[0]
    for other_r, other_s in fields[1:]:
        s = np.where(other_r < r, other_s, np.where(other_r == r, np.minimum(s, other_s), s))
        r = np.minimum(r, other_r)
    return r, s


def _spread(step: Spread, r: Floats, s: Floats) -> _Field:
    over = np.array(step.axes)
    return np.where(over, math.inf, r), np.where(over, 1.0, s)
