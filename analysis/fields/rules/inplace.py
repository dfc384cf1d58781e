"""What writing in place means: for parts of a tensor, and for what a tensor is a view of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from dynpool.graph.ir import ValueRef

from ..positions import Field, Term
from ..propagate import Back, Call, Rule
from .moves import order_of, sliced, unsqueezed

__all__ = ["BACK_RULES", "WRITE_RULES"]

Index = NDArray[np.intp]


def overwritten(c: Call, part: Field | None, dim: int, index: Index, *, kept: bool = False) -> Field | None:
    """The field of a call's first argument after entries `index` along a dimension get the field `part`.

    Args:
        c: the call.
        part: None if what is written does not depend on the image.
        dim: of the argument.
        index: positions, all of the dimension's size or fewer.
        kept: whether what was there stays as well (a sum).
    """
    size = c.shape(c.node.args[0])[dim]
    places = np.full(size, -1)
    places[index] = np.arange(len(index))
    others = np.arange(size) if kept else np.where(places < 0, np.arange(size), -1)
    written = () if part is None else c.domain.whole(part).terms
    terms = [(t, places) for t in written] + [(t, others) for t in c.terms(c.node.args[0])]
    runs = any(t.along(dim) for t, _ in terms)
    placed = [c.domain.place(t, dim, at, runs=runs) for t, at in terms]
    if not kept:
        placed = c.domain.beside(placed, dim)
    settled = [s for t, (before, _) in zip(placed, terms, strict=True) if (s := c.domain.settle(t, before)) is not None]
    return c.domain.join(settled) if settled else None


# --- what is written --------------------------------------------------------------------------------------------------


def _copy(c: Call) -> Field | None:
    """What is written replaces what was there."""
    terms = c.terms(c.node.args[1], len(c.out_shape))
    return c.domain.join(terms) if terms else None


def _known(c: Call, index: object) -> Index | None:
    """The positions that an index names, if it is a constant of one dimension."""
    data = c.walk.graph.values[index.id].data if isinstance(index, ValueRef) and c.field(index) is None else None
    if data is None or data.ndim != 1:
        return None
    found: Index = (data.nonzero().ravel() if data.dtype == torch.bool else data).numpy()
    return found


def _anywhere(c: Call) -> Field:
    """Any position may be written to, and holds what it held on another path."""
    own = c.terms(c.node.args[0])
    others = [t for v in c.node.inputs[1:] if (f := c.walk.fields.get(v)) for t in c.domain.whole(f).terms]
    return c.domain.join([*own, *(c.domain.spread(others, len(c.out_shape)).terms if others else ())])


def _index_put(c: Call) -> Field | None:
    """x[..., index, ...] = values."""
    indices, values = c.node.args[1], c.node.args[2]
    indexed = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    shape = c.shape(c.node.args[0])
    known = _known(c, indexed[0][1]) if len(indexed) == 1 else None
    if known is None:
        return _anywhere(c)
    dim = indexed[0][0]
    return _written_at(c, values, dim, known % shape[dim], kept=bool(c.arg(3, "accumulate", False)))


def _along(at: int, *, kept: bool = False) -> Rule:
    """x.index_copy(dim, index, source) and the like; the argument `at` is what is written."""

    def rule(c: Call) -> Field | None:
        dim = c.node.args[1] % len(c.out_shape)
        known = _known(c, c.node.args[2])
        if known is None:
            return _anywhere(c)
        return _written_at(c, c.node.args[at], dim, known % c.out_shape[dim], kept=kept)

    return rule


def _written_at(c: Call, source: object, dim: int, index: Index, *, kept: bool) -> Field | None:
    terms = c.terms(source, len(c.out_shape))
    return overwritten(c, c.domain.join(terms) if terms else None, dim, index, kept=kept)


WRITE_RULES: dict[str, Rule] = {
    "aten.copy": _copy,
    "aten.index_put": _index_put,
    "aten._unsafe_index_put": _index_put,
    "aten.index_copy": _along(3),
    "aten.index_fill": _along(3),
    "aten.index_add": _along(3, kept=True),
    **{f"aten.{name}": _anywhere for name in ("scatter", "scatter_add", "scatter_reduce", "masked_scatter")},
}


# --- back to what it is a view of -------------------------------------------------------------------------------------


def _moved(move: Callable[[Call, Term], Term]) -> Back:
    """Of a view of all positions: they are moved back."""

    def back(c: Call, field: Field | None, output: int) -> Field | None:
        return None if field is None else c.domain.whole(field).map(lambda t: move(c, t))

    return back


def _viewed_back(c: Call, term: Term) -> Term:
    return term.viewed(c.out_shape, c.shape(c.node.args[0]))


def _permuted_back(c: Call, term: Term) -> Term:
    order = order_of(c)
    return term.permuted([order.index(dim) for dim in range(len(order))])


def _slice_back(c: Call, field: Field | None, output: int) -> Field | None:
    return overwritten(c, field, *sliced(c))


def _select_back(c: Call, field: Field | None, output: int) -> Field | None:
    shape = c.shape(c.node.args[0])
    dim = c.node.args[1] % len(shape)
    return _entry_back(c, field, dim, c.node.args[2] % shape[dim])


def _unbind_back(c: Call, field: Field | None, output: int) -> Field | None:
    return _entry_back(c, field, c.arg(1, "dim", 0) % len(c.shape(c.node.args[0])), output)


def _entry_back(c: Call, field: Field | None, dim: int, at: int) -> Field | None:
    part = None if field is None else c.domain.whole(field).map(lambda t: unsqueezed(t, dim))
    return overwritten(c, part, dim, np.asarray([at]))


def _split_back(c: Call, field: Field | None, output: int) -> Field | None:
    dim = c.arg(2, "dim", 0) % len(c.shape(c.node.args[0]))
    sizes = [c.walk.graph.values[v].shape[dim] for v in c.node.outputs]
    start = sum(sizes[:output])
    return overwritten(c, field, dim, np.arange(start, start + sizes[output]))


BACK_RULES: dict[str, Back] = {
    **{f"aten.{name}": _moved(lambda c, t: t) for name in ("alias", "detach", "lift_fresh")},
    **{f"aten.{name}": _moved(_viewed_back) for name in ("view", "_reshape_alias", "unsqueeze", "squeeze")},
    **{f"aten.{name}": _moved(_permuted_back) for name in ("permute", "transpose", "t")},
    "aten.slice": _slice_back,
    "aten.select": _select_back,
    "aten.unbind": _unbind_back,
    **{f"aten.{name}": _split_back for name in ("split", "split_with_sizes", "chunk")},
}
