"""Rules of the primitives that read positions by index."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dynpool.graph import Value
from dynpool.graph import primitives as kinds

from ..positions import Field, Term
from ..propagate import Call
from .moves import picked

__all__ = ["gather", "grid_sample", "index", "positions"]

Index = NDArray[np.intp]


def positions(c: Call, index: Value | None) -> Index | None:
    """The positions in an index, if it is a one-dimensional constant."""
    data = None if index is None or c.field(index) is not None else index.data
    if data is None or data.ndim != 1:
        return None
    found: Index = (data.nonzero().ravel() if data.dtype == torch.bool else data).numpy()
    return found


def index(c: Call, p: kinds.Index) -> Field | None:
    """Any position along an indexed dimension may be read, unless the index is known."""
    shape = p.x.shape
    indexed = [dim for dim, index in enumerate(p.indices) if index is not None]
    places = [index for index in p.indices if index is not None]
    if any(c.field(index) is not None for index in places):
        if c.field(p.x) is None and indexed == [0]:  # a table lookup at every position
            kept = len(shape) - 1
            return c.each(places[0], lambda t: t.permuted((*range(len(places[0].shape)), *[None] * kept)))
        return c.everything()
    known = places[0].data if len(places) == 1 else None
    if known is not None and known.dtype == torch.bool:  # a mask: how many positions it keeps is not traced
        known = None
    named = positions(c, places[0]) if len(places) == 1 else None
    if named is not None and len(named) == c.out_shape[indexed[0]]:
        return picked(c, p.x, indexed[0], named % shape[indexed[0]])
    together = indexed == list(range(indexed[0], indexed[-1] + 1))
    new = len(c.out_shape) - (len(shape) - len(indexed))
    at = indexed[0] if together else 0

    def move(term: Term) -> Term:
        if known is not None and term.along(indexed[0]):
            dim = indexed[0]
            term = term.taken(dim, known.numpy().ravel() % shape[dim])
            flat = [known.numel() if i == dim else n for i, n in enumerate(shape)]
            return term.viewed(flat, c.out_shape)
        term = c.domain.mix(term, [d for d in indexed if term.along(d)]).without(indexed)
        return term.map(lambda a: a.reshape([*a.shape[:at], *[1] * new, *a.shape[at:]]), lambda d: d + new * (d >= at))

    return c.moved(p.x, move) or c.everything()


def gather(c: Call, p: kinds.Gather) -> Field:
    if c.field(p.index) is not None:
        return c.everything()
    return c.each(p.x, lambda t: c.domain.mix(t, [p.dim]) if t.along(p.dim) else t)


def grid_sample(c: Call, p: kinds.GridSample) -> Field:
    """Any pixel of the map may be sampled; the sampling positions depend on the output position."""
    last = len(p.grid.shape) - 1
    found = list(c.domain.global_field(c.terms(p.x), len(c.out_shape)).terms) if c.terms(p.x) else []
    found += [c.domain.mix(t, [last]).without([last]).unsqueezed(1) for t in c.terms(p.grid)]
    return c.domain.join(found)
