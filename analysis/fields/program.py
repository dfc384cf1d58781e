"""Field programs: receptive fields of a traced model as a list of steps, evaluated at any sizes without a new trace."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dynpool.graph import Graph

from .layer_row import LayerRow
from .recurrence import GLOBAL_AXIS, AxisField, State, evaluate, is_global
from .steps import GLOBAL, Join, Layer, Step, Window

__all__ = ["FieldProgram", "Fields"]

_INF = math.inf
_NEAR = 1e-6  # strides are products of fractions, up to rounding


@dataclass(frozen=True)
class Fields:
    """The figures of a `ReceptiveFieldReport` without its rows."""

    i_min: tuple[float, ...]
    i_min_table7: tuple[float, ...]
    i_max: tuple[float, ...]
    i_max_local: tuple[float, ...]
    unproductive: tuple[str, ...]
    underutilized: tuple[str, ...]
    aligned: bool


_Windows = list[tuple[Window, ...]]  # of every layer, in order


class FieldProgram:
    """The layers, joins and global operations of a traced model, made by `analysis.fields.compile.compile_fields`.

    Args:
        graph: the trace.
        steps: the steps, in order of execution.
        states: the states of the slots at tracing: of the input, of global fields, and of each step.
        input_hw: the input's extents in pixels: I_res.
        not_understood: operations without a rule, and how often they ran.
    """

    def __init__(
        self,
        graph: Graph,
        steps: Sequence[Step],
        states: Sequence[State],
        input_hw: Sequence[int],
        not_understood: Mapping[str, int] | None = None,
    ) -> None:
        self.graph = graph
        self.steps = tuple(steps)
        self._traced = (list(states), [step.at_tracing() for step in steps if isinstance(step, Layer)])
        self.input_hw = tuple(input_hw)
        self.not_understood = dict(not_understood or {})
        self._last: tuple[dict[int, int], Fields] | None = None
        self._fixed = [_fixed_windows(step) for step in self.steps]
        self._joins = [slot for slot, step in enumerate(self.steps, 2) if isinstance(step, Join)]
        self._layers = [(slot, step) for slot, step in enumerate(self.steps, 2) if isinstance(step, Layer)]

    def fields(self, axis_sizes: Mapping[int, int] | None = None) -> Fields:
        """Receptive fields when the axis classes have the given sizes.

        Args:
            axis_sizes: of `Graph.axis_sizes`; None: those at tracing.
        """
        sizes = dict(axis_sizes or {})
        if self._last is None or self._last[0] != sizes:  # from one step of training to the next they seldom change
            self._last = (sizes, self._fields(sizes))
        return self._last[1]

    def _fields(self, sizes: dict[int, int]) -> Fields:
        states, windows = self._run(sizes)
        i_min, table7, i_max, local = ([1.0] * len(self.input_hw) for _ in range(4))
        unproductive: list[str] = []
        underutilized: list[str] = []
        for (slot, layer), window in zip(self._layers, windows, strict=True):
            if not layer.name or is_global(states[slot]):
                continue
            covered = covers = True
            for axis, (before, own) in enumerate(zip(states[layer.source], states[slot], strict=True)):
                if own.r_min < _INF:
                    i_min[axis] = max(i_min[axis], own.r_min)
                    table7[axis] = max(table7[axis], own.r_min, window[axis].shortest * own.s_min)
                    local[axis] = max(local[axis], own.r_max_local)
                if own.r_max > i_max[axis]:
                    i_max[axis] = own.r_max
                covered = covered and before.r_min >= self.input_hw[axis]
                covers = covers and own.r_min >= self.input_hw[axis]
            if covered:
                unproductive.append(layer.name)
            if covers:
                underutilized.append(layer.name)
        aligned = all(axis.aligned for slot in self._joins for axis in states[slot])
        maxima = (tuple(i_min), tuple(table7), tuple(i_max), tuple(local))
        return Fields(*maxima, tuple(unproductive), tuple(underutilized), aligned)

    def rows(self) -> tuple[LayerRow, ...]:
        """All layers at the sizes of the trace, in order of execution."""
        states, windows = self._run({})
        rows = []
        for (slot, layer), window in zip(self._layers, windows, strict=True):
            after, before = states[slot], states[layer.source]
            if not layer.name or is_global(after):
                continue
            node = self.graph.nodes[layer.node]
            x, out = self.graph.values[node.inputs[0]], self.graph.values[node.outputs[0]]
            rows.append(
                LayerRow(
                    name=layer.name,
                    kind=layer.kind,
                    kernel=tuple(w.shortest for w in window),
                    stride=tuple(w.stride for w in window),
                    r_min_in=tuple(a.r_min for a in before),
                    r_min=tuple(a.r_min for a in after),
                    r_max=tuple(a.r_max for a in after),
                    r_max_local=tuple(a.r_max_local for a in after),
                    effective_stride=tuple(a.s for a in after),
                    effective_padding=tuple((a.r - 1) / 2 - a.centre for a in after),
                    centre=tuple(a.centre for a in after),
                    aligned=all(a.aligned for a in before),
                    shape=out.shape,
                    macs=layer.macs,
                    parameters=layer.parameters,
                    input_shape=x.shape,
                    activation_bytes=out.bytes,
                    weight_bytes=layer.weight_bytes,
                )
            )
        return tuple(rows)

    def layers(self) -> tuple[Layer, ...]:
        """The steps of the rows, in order of execution."""
        states, _ = self._run({})
        return tuple(layer for slot, layer in self._layers if layer.name and not is_global(states[slot]))

    def uneven(self) -> tuple[bool, ...]:
        """For each of `layers()`, whether a stride up to it is fractional: positions may then differ in what they see.

        So are those of upsampling, transposed convolutions, some resizers, and operations in windows.
        """
        states, windows = self._traced
        found, own = [False, False], iter(windows)  # by slot
        for step in self.steps:
            sources = step.sources if isinstance(step, Join) else (step.source,)
            fractional = isinstance(step, Layer) and any(abs(w.stride - round(w.stride)) > _NEAR for w in next(own))
            found.append(fractional or any(found[s] for s in sources))
        return tuple(found[slot] for slot, layer in self._layers if layer.name and not is_global(states[slot]))

    @cached_property
    def behind_global(self) -> tuple[str, ...]:
        """Names of the convolutions over an image map that are not rows: all of their inputs' paths are global."""
        rows = {layer.node for layer in self.layers()}
        values = self.graph.values
        left = [n for n in self.graph.nodes if n.op.startswith("aten.convolution") and n.index not in rows]
        maps = (n for n in left if max(values[n.outputs[0]].shape[2:], default=1) > 1)  # only they have axes
        return tuple(n.path or n.op for n in maps if any(d.axis is not None for d in self.graph.dims(n.outputs[0])[2:]))

    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs (from, to) of layers, as indices of `rows()`; -1 is the input. Other operations are skipped."""
        states, _ = self._run({})
        above: list[frozenset[int]] = [frozenset({-1}), frozenset()]  # by slot: the layers whose output it is made of
        found: list[tuple[int, int]] = []
        index = 0
        for slot, step in enumerate(self.steps, 2):
            sources = step.sources if isinstance(step, Join) else (step.source,)
            here = frozenset().union(*(above[s] for s in sources))
            if isinstance(step, Layer) and step.name and not is_global(states[slot]):
                found += [(source, index) for source in sorted(here)]
                here = frozenset({index})
                index += 1
            above.append(here)
        return tuple(found)

    def _run(self, sizes: dict[int, int]) -> tuple[list[State], _Windows]:
        if not sizes:
            return self._traced
        ndim = len(self.input_hw)
        states: list[State] = [(AxisField(),) * ndim, (GLOBAL_AXIS,) * ndim]
        windows: _Windows = []
        here: tuple[Window, ...] = ()
        for step, fixed in zip(self.steps, self._fixed, strict=True):
            if isinstance(step, Layer):
                here = fixed or tuple(self._windows(step, sizes))
                windows.append(here)
                if step.whole and self._covers(step, here, sizes):
                    states.append(states[GLOBAL])
                    continue
            states.append(evaluate(step, states, here))
        return states, windows

    def _windows(self, layer: Layer, sizes: dict[int, int]) -> Iterator[Window]:
        for window in layer.windows:
            if isinstance(window, Window):
                yield window
                continue
            source, target = window.axes(self.graph)
            extent = self.graph.classes.extent
            yield window.window(extent(source, window.size_in, sizes), extent(target, window.size_out, sizes))

    def _covers(self, layer: Layer, windows: Sequence[Window], sizes: dict[int, int]) -> bool:
        dims = ((self.graph.dims(value)[dim].axis, traced) for value, dim, traced in layer.whole)
        return layer.covers([self.graph.classes.extent(axis, traced, sizes) for axis, traced in dims], windows)


def _fixed_windows(step: Step) -> tuple[Window, ...] | None:
    """The windows of a layer that do not depend on sizes."""
    if not isinstance(step, Layer):
        return None
    fixed = tuple(window for window in step.windows if isinstance(window, Window))
    return fixed if len(fixed) == len(step.windows) else None
