"""Receptive fields and MACs of a traced model at many assignments of strides at once, without a new trace."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dynpool.graph import Graph, Resize, propagate
from dynpool.size_math import Size, window_output_size

from .program import FieldProgram
from .recurrence import Shortest, shortest_after_global, shortest_after_join, shortest_after_window
from .steps import Join, Layer, Resized, Step

__all__ = ["Outcome", "StrideProgram"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_Sizes = dict[int, Ints]  # by axis class

_CHUNK = 512  # candidates at a time, so that the fields of all layers take about ten megabytes


@dataclass(frozen=True)
class Outcome:
    """Results of the candidates: arrays with one row per candidate.

    `i_min` is (height, width) in pixels of the input; `macs` a count; `agrees` whether by the arithmetic of the windows
    all maps that meet have equal sizes and pinned maps keep theirs (with SAME padding a candidate with False may run
    nevertheless).
    """

    i_min: Floats
    macs: Floats
    agrees: Flags


class StrideProgram:
    """Evaluates strides for the windows of a trace made with `every_window`.

    A pool without padding whose kernel equals its stride gets kernel 1 if its stride becomes 1: it is removed.

    Args:
        graph: the trace; `windows` are its convolutions and pools in order of execution.
        program: the field program of the trace.
        input_hw: (H, W), or other axes, in pixels of the input for sizes and MACs; the trace may have another input
            size.
    """

    def __init__(self, graph: Graph, program: FieldProgram, input_hw: Size) -> None:
        self.graph, self.program, self.input_hw = graph, program, input_hw
        self.windows: tuple[Resize, ...] = tuple(r for r in graph.resizes if _slides(r))
        self.axes = len(input_hw)
        self.row = {w.node: i for i, w in enumerate(self.windows)}
        self.strides: Ints = np.array([w.stride for w in self.windows], dtype=np.int64).reshape(-1, self.axes)
        self._kernels: Ints = np.array([w.kernel for w in self.windows], dtype=np.int64).reshape(-1, self.axes)
        self._pools = np.array([[is_tiling_pool(w, axis) for axis in range(self.axes)] for w in self.windows])
        self._pools = self._pools.reshape(-1, self.axes)

    def evaluate(self, strides: Ints, *, windows_cover: bool = False) -> Outcome:
        """I_min, MACs and agreement of each assignment.

        Args:
            strides: integers of shape (candidates, windows, axes).
            windows_cover: assume that every convolution that may cover its whole map (and so be a linear layer) does so
                at all sizes. Then I_min never decreases when a stride grows, and is never overestimated.
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
        """Sizes of all axis classes in pixels, and whether every class has a single size."""
        classes, count = self.graph.classes, len(strides)
        agrees = np.ones(count, dtype=bool)

        def output(resize: Resize, size: tuple[Ints, ...]) -> list[Ints]:
            out = [self._output(resize, axis, n, strides, kernels) for axis, n in enumerate(size)]
            for n, target in zip(out, resize.target, strict=True):
                agrees[:] &= (n >= 1) | (target is None)
            return out

        def assign(sizes: _Sizes, axis: int, size: Ints) -> None:
            known = classes.size(axis, sizes)
            if known is None:
                known = sizes[axis] = np.maximum(size, 1)
            agrees[:] &= known == size

        image = self.graph.with_input(*(np.full(count, n) for n in self.input_hw))
        sizes = propagate(self.graph.axes, image, output, assign)
        if self.input_hw == self.graph.input_size[1:]:
            for root, now in sizes.items():
                if classes.pinned(root) is not None:
                    agrees &= now == classes.reference(root)
        return sizes, agrees

    def _output(self, resize: Resize, axis: int, n: Ints, strides: Ints, kernels: Ints) -> Ints:
        """Output pixels of a window or an upsampling along one axis, for `n` input pixels."""
        row = self.row.get(resize.node)
        if row is not None:
            kernel, stride = kernels[:, row, axis], strides[:, row, axis]
            padding, dilation = resize.padding[axis], resize.dilation[axis]
            return window_output_size(n, kernel, stride, padding, dilation, ceil_mode=resize.ceil_mode)
        grown = 0.0 if resize.scale is None else (n - resize.in_size[axis]) * resize.scale[axis]
        return np.full(len(strides), resize.out_size[axis]) + np.floor(grown).astype(np.int64)

    def _size(self, axis: int | None, traced: int, sizes: _Sizes, count: int) -> Ints:
        return np.full(count, self.graph.classes.extent(axis, traced, sizes))

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
        shape = (len(strides), self.axes)
        start = (np.ones(shape), np.ones(shape))
        everywhere = (np.full(shape, math.inf), np.ones(shape))
        states: list[Shortest] = [start, everywhere]
        i_min = np.ones(shape)
        for step in self.program.steps:
            state = self._step(step, states, strides, kernels, sizes)
            if windows_cover and isinstance(step, Layer) and step.whole:
                state = everywhere
            states.append(state)
            if isinstance(step, Layer) and step.name:
                i_min = np.maximum(i_min, np.where(np.isfinite(state[0]), state[0], 1.0))
        return i_min

    def _step(self, step: Step, states: list[Shortest], strides: Ints, kernels: Ints, sizes: _Sizes) -> Shortest:
        if isinstance(step, Join):
            return shortest_after_join([states[source] for source in step.sources])
        r, s = states[step.source]
        if isinstance(step, Layer):
            kernel, stride = self._window(step, strides, kernels, sizes)
            r, s = shortest_after_window((r, s), kernel, stride)
            if step.whole:
                r = np.where(self._covers(step, kernel, sizes)[:, None], math.inf, r)
            return r, s
        return shortest_after_global(step, (r, s))

    def _window(self, layer: Layer, strides: Ints, kernels: Ints, sizes: _Sizes) -> tuple[Floats, Floats]:
        """Kernel and stride along the axes, (candidates, axes) each."""
        row, count = self.row.get(layer.node), len(strides)
        pairs = []
        for window, dim in zip(layer.windows, layer.dims or (None,) * self.axes, strict=True):
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
        """Kernel and stride of a resizer at the sizes of each candidate."""
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
    """Whether a resize is that of a convolution or pool, whose stride could be changed."""
    return not (resize.fixed or resize.given or resize.learned) and resize.scale is None


def is_tiling_pool(window: Resize, axis: int) -> bool:
    """Whether a pool divides the axis into adjacent windows, so that it can be removed at stride 1."""
    tiles = window.kernel[axis] == window.stride[axis] > 1 and window.padding[axis] == 0
    return tiles and "pool" in window.kind
