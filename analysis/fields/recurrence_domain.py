"""Fields by the recurrence: turns operations on positions into the steps of a field program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, constant, moves, varies
from .joining import Joiner, filled
from .measures import affine, affine_step, evened, first_value, most_common, read, straightened
from .positions import Field, Taps, Term, comparable, shared_dim
from .recurrence import is_global
from .steps import GLOBAL, INPUT, GlobalOperation, Layer, Resized, Window

__all__ = ["RecurrenceDomain"]

_NEAR = 1e-6  # relative
_LARGEST = 1 << 20  # largest array, in entries, that a mask may produce: attention maps of videos would be far larger


@dataclass(frozen=True)
class _Change:
    """The effect of an operation on one axis: the window of its step, and the image positions of the new positions."""

    window: Window
    array: Array | None
    collapsed_dim: int | None


class RecurrenceDomain(Joiner):
    """The domain of a field program. The array of a term is the centre of every position's region in image pixels.

    Centres follow the recurrence, so they continue into the padding and are fractional if strides are; a value without
    a position in the image (a class token) has NaN. Steps are collected in `steps`, their states in `states`.
    """

    def start(self, shape: Sequence[int]) -> Field:
        """The field of an input: every position along a spatial dimension sees its own pixel."""
        axes, collapsed = [], []
        for dim in range(len(shape) - self.ndim, len(shape)):
            at = np.arange(shape[dim], dtype=np.float64)
            axes.append((at.reshape([-1 if i == dim else 1 for i in range(len(shape))]),))
            collapsed.append(dim if shape[dim] == 1 else None)
        return Field((Term(tuple(axes), tuple(collapsed), INPUT),))

    def global_field(self, terms: Sequence[Term], rank: int) -> Field:
        """A global field: every position sees the whole image, or everything that the source sees."""
        return Field((Term((None,) * self.ndim, (None,) * self.ndim, GLOBAL),))

    # -- windows --

    def window(
        self, terms: Sequence[Term], taps: Mapping[int, Taps], layer: Callable[[], Layer] | None = None
    ) -> Field:
        """Fields after windows slide along the dimensions in `taps`; `layer` makes the step of a row, if it is one."""
        if all(is_global(self.states[t.slot]) for t in terms):
            return self.join(terms)
        slot = self.join_slots([t.slot for t in terms])
        lead = max(terms, key=lambda t: sum(t.along(dim) for dim in taps))
        changes = [self._slid(lead, axis, taps) for axis in range(self.ndim)]
        windows = tuple(self._window_of(lead, axis, taps, change) for axis, change in enumerate(changes))
        dims = tuple(self._dim_of(lead, axis, taps) for axis in range(self.ndim))
        made = layer() if layer is not None else Layer(slot, ())
        whole = made.whole and all(d is not None for d in dims)
        sizes = tuple(made.whole[list(taps).index(d)] for d in dims if d is not None) if whole else ()
        step = replace(made, source=slot, windows=windows, dims=dims, slides=tuple(taps), whole=sizes)
        after = self.emit(step)
        if is_global(self.states[after]):
            return Field((Term((None,) * self.ndim, (None,) * self.ndim, after),))
        changed = [self._moved(t, taps, after) if t is not lead else _after(t, changes, after) for t in terms]
        return self.join([self._local(t) for t in changed])

    def _local(self, term: Term) -> Term:
        """The term without the axes that its slot has no local path along."""
        state = self.states[term.slot]
        axes = tuple(None if a.r_min == math.inf else arrays for a, arrays in zip(state, term.axes, strict=True))
        return replace(term, axes=axes)

    def _moved(self, term: Term, taps: Mapping[int, Taps], slot: int) -> Term:
        return _after(term, [self._slid(term, axis, taps) for axis in range(self.ndim)], slot)

    def _dim_of(self, term: Term, axis: int, taps: Mapping[int, Taps]) -> int | None:
        """Which of the windows' dimensions runs along an axis of the image."""
        arrays = term.axes[axis]
        if arrays is None:
            return None
        at, collapsed = arrays[0], term.collapsed_dims[axis]
        return next((d for d in taps if moves(at, d) or (constant(at) and collapsed == d)), None)

    def _window_of(self, term: Term, axis: int, taps: Mapping[int, Taps], change: _Change) -> Window | Resized:
        """The window of the step: that of the operation if the axis runs along one dimension only, as in most cases."""
        arrays = term.axes[axis]
        if arrays is None:
            return Window()
        dims = [d for d, n in enumerate(arrays[0].shape) if n > 1]
        dim = term.collapsed_dims[axis] if not dims else dims[0] if len(dims) == 1 else None
        own = None if dim is None else taps.get(dim)
        if own is None or own.window.kernel != change.window.kernel:
            return change.window
        return own.resize or own.window

    def _slid(self, term: Term, axis: int, taps: Mapping[int, Taps]) -> _Change:
        arrays, collapsed = term.axes[axis], term.collapsed_dims[axis]
        if arrays is None:
            return _Change(Window(), None, None)
        at, path = arrays[0], self.states[term.slot][axis]
        kernel, ratio, offset = 1.0, 1.0, 0.0
        for dim, tap in taps.items():
            window, before = tap.window, self.measures.step(at) or path.s
            if varies(at, dim):
                step = affine_step(at, dim)
                if step is None:
                    at, span = read(at, dim, tap.reads())
                    at = straightened(at, dim)
                    kernel += span / abs(path.s)
                    ratio *= (self.measures.step(at) or before) / before
                    continue
            elif constant(at) and collapsed == dim:
                step = path.s
            else:
                continue
            scale = abs(step / path.s)
            if abs(scale - 1) < _NEAR:  # up to the rounding of positions
                scale, step = 1.0, path.s
            kernel += (window.kernel - 1) * scale
            at = affine(at.take([0], axis=dim), dim, step * window.offset, step * window.stride, tap.outputs)
            ratio *= window.stride if constant(at) or scale == 1 else (self.measures.step(at) or before) / before
            collapsed = dim if constant(at) else None
            offset += window.offset * step / path.s
        return _Change(Window(kernel, ratio, offset), self.measures.shared(at), collapsed)

    # -- operations that combine positions --

    def mix(self, term: Term, dims: Sequence[int]) -> Term:
        """The term after all positions along the dimensions are combined into one; the dimensions stay, with size 1."""
        changes = [self._mixed(term, axis, dims) for axis in range(self.ndim)]
        slot = term.slot
        if any(change.window != Window() for change in changes):
            slot = self.emit(Layer(slot, tuple(change.window for change in changes)))
        combined = tuple(c.array is None and a is not None for c, a in zip(changes, term.axes, strict=True))
        if any(combined):
            slot = GLOBAL if all(c.array is None for c in changes) else self.emit(GlobalOperation(slot, combined))
        return _after(term, changes, slot)

    def _mixed(self, term: Term, axis: int, dims: Sequence[int]) -> _Change:
        arrays, collapsed = term.axes[axis], term.collapsed_dims[axis]
        if arrays is None:
            return _Change(Window(), None, None)
        at = arrays[0]
        over = tuple(dim for dim in dims if varies(at, dim))
        if not over:
            return _Change(Window(), None if constant(at) and collapsed in dims else at, collapsed)
        low, high = np.fmin.reduce(at, axis=over, keepdims=True), np.fmax.reduce(at, axis=over, keepdims=True)
        middle = (low + high) / 2
        if constant(middle):
            return _Change(Window(), None, None)
        middle = straightened(middle, int(np.argmax(middle.shape)))
        step = self.measures.step(at) or self.states[term.slot][axis].s
        span = most_common(high - low)  # a window may wrap around the edge of a rolled map
        window = Window(
            1 + span / abs(step),
            (self.measures.step(middle) or step) / step,
            (first_value(middle) - first_value(at)) / step,
        )
        return _Change(window, middle, collapsed)

    def settle(self, term: Term, before: Term) -> Term | None:
        """The term with a step for moved positions (another first one, every n-th one); None if none is left."""
        windows = []
        axes = list(term.axes)
        for axis, (arrays, old) in enumerate(zip(term.axes, before.axes, strict=True)):
            if arrays is None or old is None:
                windows.append(Window())
                continue
            alone = [d for d in range(arrays[0].ndim) if varies(arrays[0], d) and not shared_dim(term, axis, d)]
            at = evened(arrays[0], alone[0]) if len(alone) == 1 else arrays[0]
            if np.isnan(first_value(at)):
                return None
            axes[axis] = (at,)
            windows.append(self._moved_window(old[0], at, self.states[term.slot][axis].s))
        term = replace(term, axes=tuple(axes))
        if all(abs(w.stride - 1) < 1e-9 and abs(w.offset) < 1e-9 for w in windows):
            return term
        return replace(term, slot=self.emit(Layer(term.slot, tuple(windows))))

    def _moved_window(self, old: Array, new: Array, stride: float, kernel: float = 1) -> Window:
        """The window that maps the old image positions to the new ones."""
        if new is old:
            return Window(kernel)
        (before, began), (after, begins) = self.measures.of(old), self.measures.of(new)
        step = before or stride
        return Window(kernel, (after or step) / step, (begins - began) / step)

    def pad(self, term: Term, dim: int, size: int, before: int, after: int) -> Term:
        """The term with positions added at both ends of a dimension of `size`."""
        axes, collapsed = [], []
        for axis, (arrays, dim_before) in enumerate(zip(term.axes, term.collapsed_dims, strict=True)):
            if arrays is None or not (varies(arrays[0], dim) or (constant(arrays[0]) and dim_before == dim)):
                axes.append(arrays)
                collapsed.append(dim_before)
                continue
            at = arrays[0]
            step = affine_step(at, dim) if varies(at, dim) else self.states[term.slot][axis].s
            if step is None:
                blank = [at.take([0], axis=dim) * np.nan] * 1
                at = np.concatenate([*blank * before, at, *blank * after], axis=dim)
            else:
                at = affine(at.take([0], axis=dim), dim, -before * step, step, at.shape[dim] + before + after)
            axes.append((at,))
            collapsed.append(dim if constant(at) else None)
        return replace(term, axes=tuple(axes), collapsed_dims=tuple(collapsed))

    def place(self, term: Term, dim: int, index: NDArray[np.intp], *, runs: bool) -> Term:
        """The term of the positions `index`; -1 means none.

        A term that does not vary along a dimension of the image, as keys along queries, counts at all of its positions:
        in an attention map it could not be distinguished from one that varies.
        """
        outside = index < 0

        def move(at: Array) -> Array:
            if not varies(at, dim) and ((runs and dim not in term.collapsed_dims) or at.size * len(index) > _LARGEST):
                return at
            mask = outside.reshape([-1 if i == dim else 1 for i in range(at.ndim)])
            return np.where(mask, np.nan, at.take(np.maximum(index, 0), axis=dim) if varies(at, dim) else at)

        return term.map(move, lambda old: None if old == dim else old)

    def beside(self, terms: Sequence[Term], dim: int) -> list[Term]:
        """Terms of different positions, each as a part of the whole that they form along `dim`.

        A repetition of the opposite edge counts as a continuation of the map, as with circular padding.
        """
        found = []
        for term in terms:
            others = [t for t in terms if t is not term and comparable(term, t)]
            axes = list(term.axes)
            for axis, own in enumerate(axes):
                if own is not None and varies(own[0], dim):
                    whole = filled(own, [t.axes[axis] for t in others])
                    axes[axis] = tuple(np.where(np.isnan(a), a, straightened(a, dim)) for a in whole or ())
            found.append(replace(term, axes=tuple(axes)))
        return found

    def repeat(self, term: Term, dim: int, before: int, after: int, index: NDArray[np.intp]) -> Term:
        """As `pad`: positions that mirror or repeat the edge count as a continuation of the map."""
        return self.pad(term, dim, len(index) - before - after, before, after)

    def accumulate(self, term: Term, dim: int) -> Term:
        """The term whose positions see all earlier ones along a dimension; counted as if they saw all of it."""
        return self.mix(term, [dim])

    def gather(self, term: Term, dim: int, index: NDArray[np.intp]) -> Term:
        """The term whose position i combines the positions in row i of `index` (outputs, reads); -1 means none."""
        axes = []
        windows = []
        for axis, arrays in enumerate(term.axes):
            if arrays is None or not varies(arrays[0], dim):
                axes.append(arrays)
                windows.append(Window())
                continue
            stride = self.states[term.slot][axis].s
            at, span = read(arrays[0], dim, index)
            at = straightened(at, dim)
            kernel = 1 + span / abs(self.measures.step(arrays[0]) or stride)
            windows.append(self._moved_window(arrays[0], at, stride, kernel))
            axes.append((at,))
        if all(w == Window() for w in windows):
            return term
        return replace(term, axes=tuple(axes), slot=self.emit(Layer(term.slot, tuple(windows))))


def _after(term: Term, changes: Sequence[_Change], slot: int) -> Term:
    axes = tuple(None if c.array is None else (c.array,) for c in changes)
    return Term(axes, tuple(c.collapsed_dim for c in changes), slot)
