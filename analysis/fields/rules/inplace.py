"""Rules of in-place writes: to parts of a tensor, and from a view to its base."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dynpool.graph import Primitive, Value
from dynpool.graph import primitives as kinds

from ..positions import Field
from ..propagate import Call, ViewInverse
from .indexing import positions

__all__ = ["VIEW_INVERSES", "write"]

Index = NDArray[np.intp]


def overwritten(c: Call, x: Value, part: Field | None, dim: int, index: Index, *, kept: bool = False) -> Field | None:
    """The field of `x` after its entries `index` along a dimension get the field `part`.

    Args:
        c: the call.
        x: the tensor that is written to.
        part: the field that is written; None if it does not depend on the image.
        dim: dimension of x.
        index: positions along it, all or some.
        kept: whether the old content stays as well (a sum).
    """
    size = x.shape[dim]
    places = np.full(size, -1)
    places[index] = np.arange(len(index))
    others = np.arange(size) if kept else np.where(places < 0, np.arange(size), -1)
    written = () if part is None else c.domain.whole(part).terms
    terms = [(t, places) for t in written] + [(t, others) for t in c.terms(x)]
    runs = any(t.along(dim) for t, _ in terms)
    placed = [c.domain.place(t, dim, at, runs=runs) for t, at in terms]
    if not kept:
        placed = c.domain.beside(placed, dim)
    settled = [s for t, (before, _) in zip(placed, terms, strict=True) if (s := c.domain.settle(t, before)) is not None]
    return c.domain.join(settled) if settled else None


# --- what is written --------------------------------------------------------------------------------------------------


def write(c: Call, p: kinds.Write) -> Field | None:
    rank = len(c.out_shape)
    terms = c.terms(p.source, rank)
    source = c.domain.join(terms) if terms else None
    if p.dim is None and not p.anywhere:  # the new content replaces the old
        return source
    known = None if p.dim is None else positions(c, p.index)
    if known is not None and p.dim is not None:
        return overwritten(c, p.x, source, p.dim, known % c.out_shape[p.dim], kept=p.kept)
    # any position may be written to, and may keep its old content on another path
    others = [t for v in c.node.inputs[1:] if (f := c.walk.fields.get(v)) for t in c.domain.whole(f).terms]
    return c.domain.join([*c.terms(p.x), *(c.domain.global_field(others, rank).terms if others else ())])


# --- back to what it is a view of -------------------------------------------------------------------------------------


def _same(c: Call, p: kinds.Elementwise, field: Field | None, output: int) -> Field | None:
    return None if field is None else c.domain.whole(field)


def _viewed(c: Call, p: kinds.View, field: Field | None, output: int) -> Field | None:
    return None if field is None else c.domain.whole(field).map(lambda t: t.viewed(c.out_shape, p.x.shape))


def _permuted(c: Call, p: kinds.Permute, field: Field | None, output: int) -> Field | None:
    order = [p.order.index(dim) if dim in p.order else None for dim in range(len(p.x.shape))]
    return None if field is None else c.domain.whole(field).map(lambda t: t.permuted(order))


def _sliced(c: Call, p: kinds.Slice, field: Field | None, output: int) -> Field | None:
    if field is not None and p.drop:
        field = c.domain.whole(field).map(lambda t: t.unsqueezed(p.dim))
    kept = p.ranges[output]
    return overwritten(c, p.x, field, p.dim, np.arange(kept.start, kept.stop, kept.step))


VIEW_INVERSES: Mapping[type[Primitive], ViewInverse] = MappingProxyType(
    {kinds.Elementwise: _same, kinds.View: _viewed, kinds.Permute: _permuted, kinds.Slice: _sliced}
)
