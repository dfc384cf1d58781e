"""The arithmetic of receptive fields along one axis: windows, global operations and joins of paths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .steps import Join, Layer, Spread, Step, Window

__all__ = [
    "GLOBAL_AXIS",
    "AxisField",
    "Shortest",
    "State",
    "evaluate",
    "is_global",
    "join_shortest",
    "slide_shortest",
    "spread_shortest",
]

_INF = math.inf
_NEAR = 1e-9  # relative tolerance: strides are products of few fractions


class AxisField(NamedTuple):
    """The shortest and the longest local path from the input along one axis, and properties of all paths.

    Fields and centres are in pixels of the image; centres are those of position 0. Without a local path r_min is
    infinite.

    Attributes:
        r_min, s_min: receptive field and effective stride of the shortest local path.
        r, s, centre: those of the longest local path, or of the hull of all paths that meet at one stride.
        aligned: whether all paths agree in effective stride and centre.
        spread: whether a path is global.
    """

    r_min: float = 1.0
    s_min: float = 1.0
    r: float = 1.0
    s: float = 1.0
    centre: float = 0.0
    aligned: bool = True
    spread: bool = False

    @property
    def r_max(self) -> float:
        """The longest path of all."""
        return _INF if self.spread else self.r

    @property
    def r_max_local(self) -> float:
        """The longest local path, whether or not another is global; infinite if there is none."""
        return self.r if self.r_min < _INF else _INF


State = tuple[AxisField, ...]  # one entry per axis
GLOBAL_AXIS = AxisField(r_min=_INF, r=-_INF, spread=True)  # no local path: neither the shortest nor the longest


def evaluate(step: Step, states: Sequence[State], windows: Sequence[Window]) -> State:
    """The state after a step, from those of earlier steps; `windows` are those of a layer, per axis."""
    if isinstance(step, Layer):
        return _per_axis(states[step.source], windows)
    if isinstance(step, Join):
        sources = [states[s] for s in step.sources]
        joined = [_join([state[0] for state in sources])]
        for axis in range(1, len(sources[0])):
            same = all(state[axis] is state[0] for state in sources)
            joined.append(joined[0] if same else _join([state[axis] for state in sources]))
        return tuple(joined)
    return _spread(step, states[step.source])


def is_global(state: State) -> bool:
    """Whether its operation covers the whole map, or follows one that does; then it is not a layer of the report."""
    return all(axis.r_min == _INF for axis in state)


def _per_axis(state: State, windows: Sequence[Window]) -> State:
    """The state after a window along every axis; equal axes are computed once."""
    first, window = state[0], windows[0]
    moved = _slide(first, window)
    return (
        moved,
        *[
            moved if axis is first and other == window else _slide(axis, other)
            for axis, other in zip(state[1:], windows[1:], strict=True)
        ],
    )


def _slide(axis: AxisField, window: Window) -> AxisField:
    kernel, stride, offset, narrow = window
    if kernel == 1 and stride == 1 and offset == 0:
        return axis
    r_min, s_min, r, s, centre, aligned, spread = axis
    grown = kernel - 1
    least = grown if narrow is None else narrow - 1
    if least == _INF:
        return GLOBAL_AXIS
    if grown == _INF:  # a path sees the whole axis; the narrowest is the longest local one
        grown, spread = least, True
    return AxisField(
        r_min + least * abs(s_min),
        s_min * stride,
        r + grown * abs(s),
        s * stride,
        centre + offset * s,
        aligned,
        spread,
    )


def _spread(step: Spread, state: State) -> State:
    return tuple(GLOBAL_AXIS if spread else axis for axis, spread in zip(state, step.axes, strict=True))


def _join(axes: Sequence[AxisField]) -> AxisField:
    """The state where paths meet: the shortest, the longest, and whether they agree in effective stride and centre.

    For paths of one stride with different centres, the longest is the hull of their regions.
    """
    low = min(axes, key=_shortness)
    high = max(axes, key=_length)
    r, centre = high.r, high.centre
    local = [axis for axis in axes if axis.r_min < _INF]
    aligned = all(axis.aligned for axis in axes) and all(_agree(axis, low) for axis in local)
    if not aligned and all(abs(axis.s - high.s) <= _NEAR * abs(high.s) for axis in local):
        first = min(axis.centre - (axis.r - 1) / 2 for axis in local)
        last = max(axis.centre + (axis.r - 1) / 2 for axis in local)
        r, centre = last - first + 1, (first + last) / 2
    spread = any(axis.spread for axis in axes)
    return AxisField(low.r_min, low.s_min, r, high.s, centre, aligned, spread)


def _shortness(axis: AxisField) -> tuple[float, float]:
    return axis.r_min, axis.s_min


def _length(axis: AxisField) -> tuple[float, float]:
    return axis.r, axis.s


def _agree(a: AxisField, b: AxisField) -> bool:
    """Whether two aligned values have the same stride and centre; each has one of both on all its paths."""
    return abs(a.s - b.s) <= _NEAR * abs(b.s) and abs(a.centre - b.centre) <= _NEAR * max(1.0, abs(b.centre))


# --- the shortest path alone, of many candidates at once --------------------------------------------------------------

Floats = npt.NDArray[np.float64]
Shortest = tuple[Floats, Floats]  # r_min and the effective stride of its path, of shape (candidates, axes)


def slide_shortest(field: Shortest, kernel: Floats, stride: Floats) -> Shortest:
    r, s = field
    return r + (kernel - 1) * s, s * stride


def join_shortest(fields: Sequence[Shortest]) -> Shortest:
    """The shortest path; among equal ones that of the smallest stride."""
    r, s = fields[0]
    for other_r, other_s in fields[1:]:
        s = np.where(other_r < r, other_s, np.where(other_r == r, np.minimum(s, other_s), s))
        r = np.minimum(r, other_r)
    return r, s


def spread_shortest(step: Spread, field: Shortest) -> Shortest:
    over = np.array(step.axes)
    return np.where(over, _INF, field[0]), np.where(over, 1.0, field[1])
