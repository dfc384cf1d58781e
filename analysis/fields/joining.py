"""Joins and concatenations of fields, as steps of a field program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arrays import Array, concatenated, constant, expanded, shrunk, varies
from .measures import Measures
from .positions import Field, Term, comparable, extent
from .recurrence import GLOBAL_AXIS, AxisField, State, evaluate
from .steps import GLOBAL, Join, Layer, Step, Window

__all__ = ["Joiner", "filled"]


class Joiner:
    """Joins fields, collecting steps in `steps` and the resulting states in `states`.

    Args:
        ndim: number of axes of the image.
    """

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        self.steps: list[Step] = []
        self.states: list[State] = [(AxisField(),) * ndim, (GLOBAL_AXIS,) * ndim]
        self.measures = Measures()

    def join_slots(self, slots: Sequence[int]) -> int:
        distinct = tuple(dict.fromkeys(slots))
        return distinct[0] if len(distinct) == 1 else self.emit(Join(distinct))

    def emit(self, step: Step) -> int:
        windows: Sequence[Window] = step.at_tracing() if isinstance(step, Layer) else ()
        covered = isinstance(step, Layer) and step.covers([size for *_, size in step.whole], windows)
        self.steps.append(step)
        self.states.append(self.states[GLOBAL] if covered else evaluate(step, self.states, windows))
        return len(self.states) - 1

    # -- one field of several --

    def join(self, terms: Sequence[Term]) -> Field:
        """The union of several fields; terms that vary along the same dimensions are merged."""
        groups: list[list[Term]] = []
        for term in dict.fromkeys(terms):
            group = next((g for g in groups if comparable(term, g[0])), None)
            if group is None:
                groups.append([term])
            else:
                group.append(term)
                if extent(term) > extent(group[0]):  # the term that varies most comes first, as reference
                    group[0], group[-1] = group[-1], group[0]
        return Field(tuple(self._merged(group) for group in groups))

    def _merged(self, group: Sequence[Term]) -> Term:
        if len(group) == 1:
            return group[0]
        axes: list[tuple[Array, ...] | None] = []
        collapsed_dims: list[int | None] = []
        leads: list[Term | None] = []
        for axis in range(self.ndim):
            local = [t for t in group if t.axes[axis] is not None]
            lead = max(local, key=lambda t: self._rank(t, axis)) if local else None
            leads.append(lead)
            axes.append(None if lead is None else filled(lead.axes[axis], [t.axes[axis] for t in local]))
            collapsed_dims.append(None if lead is None else lead.collapsed_dims[axis])
        slot = self.join_slots([self._stretched(t, leads) for t in group])
        return Term(tuple(axes), tuple(collapsed_dims), slot)

    def _rank(self, term: Term, axis: int) -> tuple[int, float]:
        arrays = term.axes[axis]
        path = self.states[term.slot][axis]
        return (arrays[0].size if arrays else 0, path.r)

    def _stretched(self, term: Term, leads: Sequence[Term | None]) -> int:
        """The slot of a term that is broadcast over the positions of one that varies more: an attention window.

        Its positions see the window that contains them, on average centred on themselves.
        """
        windows = []
        for axis, lead in enumerate(leads):
            mine, theirs = term.axes[axis], lead.axes[axis] if lead is not None else None
            if mine is None or theirs is None or lead is None or mine[0].size == theirs[0].size:
                windows.append(Window())
                continue
            here, there = self.states[term.slot][axis], self.states[lead.slot][axis]
            windows.append(Window(1, there.s / here.s, (there.centre - here.centre) / here.s))
        return term.slot if all(w == Window() for w in windows) else self.emit(Layer(term.slot, tuple(windows)))

    def cat(self, fields: Sequence[Field | None], dim: int, sizes: Sequence[int]) -> Field:
        """The field of a concatenation: in parts, unless along a dimension that runs through the image."""
        wholes = [None if f is None else self.whole(f) for f in fields]
        terms = [t for w in wholes if w is not None for t in w.terms]
        if not any(t.along(dim) for t in terms):
            return Field((), (dim, tuple(zip(sizes, fields, strict=True))))
        leads = [None if w is None else max(w.terms, key=extent) for w in wholes]
        first = next(t for t in leads if t is not None)
        axes: list[tuple[Array, ...] | None] = []
        for axis in range(self.ndim):
            held = [None if t is None else t.axes[axis] for t in leads]
            if all(arrays is None for arrays in held):
                axes.append(None)
                continue
            rank = next(arrays[0].ndim for arrays in held if arrays is not None)
            pieces = [
                np.full([size if i == dim else 1 for i in range(rank)], np.nan)
                if arrays is None
                else expanded(arrays[0], dim, size)
                for arrays, size in zip(held, sizes, strict=True)
            ]
            axes.append((shrunk(concatenated(pieces, dim)),))
        slot = self.join_slots([self._moved_to(t, axes, dim) for t in terms])
        before = zip(axes, first.collapsed_dims, strict=True)
        collapsed = tuple(None if a is not None and not constant(a[0]) else dim for a, dim in before)
        return Field((Term(tuple(axes), collapsed, slot),))

    def _moved_to(self, term: Term, whole: Sequence[tuple[Array, ...] | None], dim: int) -> int:
        """The slot of a term with the centre of the whole: the parts are adjacent, they do not overlap."""
        windows = []
        for here, arrays, all_of_it in zip(self.states[term.slot], term.axes, whole, strict=True):
            if arrays is None or all_of_it is None or not varies(arrays[0], dim):
                windows.append(Window())
            else:
                begins = self.measures.of(all_of_it[0])[1]
                windows.append(Window(1, 1.0, (begins - here.centre) / here.s))
        return term.slot if all(w == Window() for w in windows) else self.emit(Layer(term.slot, tuple(windows)))

    def whole(self, field: Field) -> Field:
        """The field with its parts merged."""
        if field.parts is None:
            return field
        if not field.terms:
            joined = self.join([t for _, part in field.parts[1] if part is not None for t in self.whole(part).terms])
            object.__setattr__(field, "terms", joined.terms)
        return Field(field.terms)


def filled(arrays: tuple[Array, ...] | None, others: Sequence[tuple[Array, ...] | None]) -> tuple[Array, ...] | None:
    """The array with NaN entries filled from the others."""
    if arrays is None:
        return None
    at = arrays[0]
    for other in others:
        if other is not None and other[0] is not at and bool(np.isnan(at).any()):
            at = shrunk(np.where(np.isnan(at), other[0], at))
    return (at,)
