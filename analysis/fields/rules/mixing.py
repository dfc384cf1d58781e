"""Rules of the primitives that compute: elementwise, or combining positions."""

from __future__ import annotations

from collections.abc import Sequence

from dynpool.graph import primitives as kinds

from ..positions import Field, Term
from ..propagate import Call

__all__ = ["attention", "elementwise", "make", "normalize", "opaque", "product", "recurrent", "reduce", "scan"]


def elementwise(c: Call, p: kinds.Elementwise) -> Field | None:
    """Joins corresponding positions; broadcast inputs join at all positions."""
    rank = len(c.out_shape)
    known = [(x, field) for x in p.inputs if (field := c.field(x)) is not None]
    if not known:
        return None
    first, field = known[0]
    if all(other is field for _, other in known) and len(first.shape) == rank:
        return field
    return c.domain.join([t.of_rank(rank) for _, field in known for t in c.domain.whole(field).terms])


def make(c: Call, p: kinds.Make) -> None:
    """A tensor with the dimensions of another, without its content."""


def opaque(c: Call, p: kinds.Opaque) -> Field:
    return c.everything() if p.described else c.not_understood()


def normalize(c: Call, p: kinds.Normalize) -> Field | None:
    """Each position keeps its own path, and on another path sees everything that the statistics include."""
    terms = c.terms(p.x)
    if not any(_reaches(t, p.over) for t in terms):
        return c.field(p.x)
    return c.domain.join([*terms, *(c.domain.mix(t, p.over) for t in terms)])


def _reaches(term: Term, dims: Sequence[int]) -> bool:
    return any(term.along(d) or d in term.collapsed_dims for d in dims)


def reduce(c: Call, p: kinds.Reduce) -> Field:
    kept = len(c.out_shape) == len(p.x.shape)

    def move(term: Term) -> Term:
        mixed = c.domain.mix(term, p.dims)
        return mixed if kept else mixed.without(p.dims)

    return c.each(p.x, move)


def scan(c: Call, p: kinds.Scan) -> Field | None:
    """Each position sees all earlier ones, and on another path itself."""
    terms = c.terms(p.x)
    if not any(_reaches(t, [p.dim]) for t in terms):
        return c.field(p.x)
    return c.domain.join([*terms, *(c.domain.accumulate(t, p.dim) for t in terms)])


def recurrent(c: Call, p: kinds.Recurrent) -> list[Field | None]:
    """The field of the last state, which sees the whole sequence."""
    terms = [c.domain.mix(t, [len(c.out_shape) - 1]) for t in c.terms(p.x)]
    if p.bidirectional:
        seen = [c.domain.mix(t, [p.time]) for t in terms]
    else:
        seen = [c.domain.accumulate(t, p.time) for t in terms]
    out = c.domain.join([*terms, *seen] if any(_reaches(t, [p.time]) for t in terms) else terms)
    return [out, *[c.everything()] * (len(c.node.outputs) - 1)]


def product(c: Call, p: kinds.Product) -> Field:
    """Combines all positions along the dimensions that are summed over."""
    rank = len(c.out_shape)
    terms = list(c.terms(p.added, rank))
    if len(p.b.shape) > 1:
        terms += [c.domain.mix(t, [rank - 1]) for t in c.terms(p.a)]
        terms += [c.domain.mix(t, [rank - 2]) for t in c.terms(p.b)]
    else:
        last = len(p.a.shape) - 1
        terms += [c.domain.mix(t, [last]).without([last]) for t in c.terms(p.a)]
        terms += [c.domain.mix(t, [0]).without([0]) for t in c.terms(p.b)]
    return c.domain.join(terms)


def attention(c: Call, p: kinds.Attention) -> Field:
    """Each query sees all keys and values, and on another path its own position."""
    rank = len(c.out_shape)
    terms = [c.domain.mix(t, [rank - 1]) for t in c.terms(p.query)]
    terms += [c.domain.mix(t, [rank - 2, rank - 1]) for t in c.terms(p.key)]
    terms += [c.domain.mix(t, [rank - 2]) for t in c.terms(p.value)]
    terms += [c.domain.mix(t, [rank - 1]) for mask in p.masks for t in c.terms(mask, rank)]
    return c.domain.join(terms)
