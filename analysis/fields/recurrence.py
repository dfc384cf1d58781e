"""The arithmetic of receptive fields along one axis: windows, global operations and joins of paths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .steps import GlobalOperation, Join, Layer, Step, Window

__all__ = [
    "GLOBAL_AXIS",
    "AxisField",
    "Shortest",
    "State",
    "evaluate",
    "is_global",
    "shortest_after_global",
    "shortest_after_join",
    "shortest_after_window",
]

_INF = math.inf
_TOLERANCE = 1e-9  # relative; strides are products of a few fractions, so rounding errors are far smaller


class AxisField(NamedTuple):
    """The shortest and the longest local path from the input along one axis, and properties of all paths.

    Fields and centres are in pixels of the image; a centre is that of position 0. r_min is infinite if no path is
    local.

    Attributes:
        r_min, s_min: receptive field and effective stride of the shortest local path.
        r, s, centre: field, stride and centre of the longest local path; where paths of equal stride but different
            centres were joined, r and centre describe the hull of their fields.
        aligned: whether all paths agree in effective stride and centre.
        has_global_path: whether a path goes through a global operation.
    """

    r_min: float = 1.0
    s_min: float = 1.0
    r: float = 1.0
    s: float = 1.0
    centre: float = 0.0
    aligned: bool = True
    has_global_path: bool = False

    @property
    def r_max(self) -> float:
        """The receptive field along the longest path."""
        return _INF if self.has_global_path else self.r

    @property
    def r_max_local(self) -> float:
        """The receptive field along the longest local path; infinite if there is none."""
        return self.r if self.r_min < _INF else _INF


State = tuple[AxisField, ...]  # one entry per axis
GLOBAL_AXIS = AxisField(r_min=_INF, r=-_INF, has_global_path=True)  # there is no local path


def evaluate(step: Step, states: Sequence[State], windows: Sequence[Window]) -> State:
    """The state after a step, from those of earlier steps; `windows` are those of a layer, per axis."""
    if isinstance(step, Layer):
        return _after_windows(states[step.source], windows)
    if isinstance(step, Join):
        sources = [states[s] for s in step.sources]
        joined = [_join([state[0] for state in sources])]
        for axis in range(1, len(sources[0])):
            same = all(state[axis] is state[0] for state in sources)
            joined.append(joined[0] if same else _join([state[axis] for state in sources]))
        return tuple(joined)
    return _after_global(step, states[step.source])


def is_global(state: State) -> bool:
    """Whether every path is global along every axis; the report then does not list the operation as a layer."""
    return all(axis.r_min == _INF for axis in state)


def _after_windows(state: State, windows: Sequence[Window]) -> State:
    """The state after a window along each axis; equal axes share one computation."""
    first, window = state[0], windows[0]
    after = _after_window(first, window)
    return (
        after,
        *[
            after if axis is first and other == window else _after_window(axis, other)
            for axis, other in zip(state[1:], windows[1:], strict=True)
        ],
    )


def _after_window(axis: AxisField, window: Window) -> AxisField:
    kernel, stride, offset, narrow = window
    if kernel == 1 and stride == 1 and offset == 0:
        return axis
    r_min, s_min, r, s, centre, aligned, has_global_path = axis
    widest = kernel - 1
    narrowest = widest if narrow is None else narrow - 1
    if narrowest == _INF:
        return GLOBAL_AXIS
    if widest == _INF:  # the widest path of the resizer is global, so its narrowest is also its longest local one
        widest, has_global_path = narrowest, True
    return AxisField(
        r_min + narrowest * abs(s_min),
        s_min * stride,
        r + widest * abs(s),
        s * stride,
        centre + offset * s,
        aligned,
        has_global_path,
    )


def _after_global(step: GlobalOperation, state: State) -> State:
    return tuple(GLOBAL_AXIS if combined else axis for axis, combined in zip(state, step.axes, strict=True))


def _join(axes: Sequence[AxisField]) -> AxisField:
    """The state after paths are combined.

    For paths of equal stride with different centres, r and centre are those of the hull of their fields.
    """
    shortest = min(axes, key=lambda axis: (axis.r_min, axis.s_min))
    longest = max(axes, key=lambda axis: (axis.r, axis.s))
    r, centre = longest.r, longest.centre
    local = [axis for axis in axes if axis.r_min < _INF]
    aligned = all(axis.aligned for axis in axes) and all(_agree(axis, shortest) for axis in local)
    if not aligned and all(abs(axis.s - longest.s) <= _TOLERANCE * abs(longest.s) for axis in local):
        first = min(axis.centre - (axis.r - 1) / 2 for axis in local)
        last = max(axis.centre + (axis.r - 1) / 2 for axis in local)
        r, centre = last - first + 1, (first + last) / 2
    has_global_path = any(axis.has_global_path for axis in axes)
    return AxisField(shortest.r_min, shortest.s_min, r, longest.s, centre, aligned, has_global_path)


def _agree(a: AxisField, b: AxisField) -> bool:
    """Whether two aligned axes, each with one stride and one centre on all its paths, have the same."""
    return abs(a.s - b.s) <= _TOLERANCE * abs(b.s) and abs(a.centre - b.centre) <= _TOLERANCE * max(1.0, abs(b.centre))


# --- only the shortest path, for many candidates at once --------------------------------------------------------------

Floats = npt.NDArray[np.float64]
Shortest = tuple[Floats, Floats]  # r_min and effective stride of the shortest path, each of shape (candidates, axes)


def shortest_after_window(field: Shortest, kernel: Floats, stride: Floats) -> Shortest:
    r, s = field
    return r + (kernel - 1) * s, s * stride


def shortest_after_join(fields: Sequence[Shortest]) -> Shortest:
    """The shortest path; among equally short ones, the one of smallest stride."""
    r, s = fields[0]
    for other_r, other_s in fields[1:]:
        s = np.where(other_r < r, other_s, np.where(other_r == r, np.minimum(s, other_s), s))
        r = np.minimum(r, other_r)
    return r, s


def shortest_after_global(step: GlobalOperation, field: Shortest) -> Shortest:
    combined = np.array(step.axes)
    return np.where(combined, _INF, field[0]), np.where(combined, 1.0, field[1])
