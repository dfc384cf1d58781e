"""Rules of operations that compute: element by element, over a dimension, as a product of matrices, by index."""

from __future__ import annotations

from collections.abc import Sequence

from dynpool.graph import primitives as kinds
from dynpool.graph.dims import Dim
from dynpool.graph.record import Value

from .context import Context, Dims

__all__ = [
    "attention",
    "diagonal",
    "elementwise",
    "gather",
    "grid_sample",
    "index",
    "make",
    "normalize",
    "opaque",
    "product",
    "recurrent",
    "reduce",
    "scan",
    "write",
]


def elementwise(c: Context, p: kinds.Elementwise) -> Dims:
    return _met(c, p.inputs)


def _met(c: Context, inputs: Sequence[Value]) -> Dims:
    """Unites the dimensions that correspond under broadcasting."""
    rank = len(c.out.shape)
    dims: list[Dim] = [Dim()] * rank
    for value in inputs:
        own = c.dims(value)
        for i, dim in enumerate(own):
            at = rank - len(own) + i
            if at < 0 or not dim.atoms:
                continue
            if not dims[at].atoms:
                dims[at] = dim
            elif dims[at].size == dim.size:
                dims[at] = c.unify(dims[at], dim, f"combined with a {_origin(value.origin)} of that size")
            else:  # one of them is a single pixel here, of more at other sizes
                c.pin((dims[at], dim), "a single pixel is spread over it")
                dims[at] = max(dims[at], dim, key=lambda d: d.size)
    return tuple(dims)


def _origin(origin: str) -> str:
    return "table" if origin == "op" else origin


def make(c: Context, p: kinds.Make) -> Dims:
    """A tensor made during the pass: like another, of fixed size, or of sizes computed by the model's code."""
    return c.dims(p.like) if p.like is not None else c.all_unrelated()


def opaque(c: Context, p: kinds.Opaque) -> Dims:
    touched = [] if p.made else [d for value in c.inputs for d in c.dims(value)]
    if any(d.axes for d in touched):
        c.pin(touched, "an operation without a rule")
        c.axes.not_understood[c.node.op] = c.axes.not_understood.get(c.node.op, 0) + 1
    return c.all_unrelated()


def normalize(c: Context, p: kinds.Normalize) -> Dims:
    dims = c.dims(p.x)
    c.pin([dims[i] for i in p.weighted], "normalised with a weight of that size")
    return dims


def scan(c: Context, p: kinds.Scan) -> Dims:
    return c.dims(p.x)


def reduce(c: Context, p: kinds.Reduce) -> Dims:
    dims = c.dims(p.x)
    if len(c.out.shape) < len(dims):
        return tuple(d for i, d in enumerate(dims) if i not in p.dims)
    kept = enumerate(zip(dims, c.out.shape, strict=True))
    return tuple(
        d if i not in p.dims or (d.size == n and c.other(i) in (None, d.other)) else c.unrelated(i)
        for i, (d, n) in kept
    )


def product(c: Context, p: kinds.Product) -> Dims:
    a, b = c.dims(p.a), c.dims(p.b)
    c.unify(a[-1], b[-2] if len(b) > 1 else b[0], "multiplied with a matrix of that size")
    dims: Dims = (*a[:-1], *b[-1:]) if len(b) > 1 else a[:-1]
    if len(a) == 3:
        dims = (c.unify(a[0], b[0], "a batch of matrices"), *dims[1:])
    added = c.dims(p.added) if p.added is not None else ()
    for i, dim in enumerate(added):
        if p.added is not None and dim.atoms:
            at = len(dims) - len(added) + i
            c.unify(dims[at], dim, f"combined with a {_origin(p.added.origin)} of that size")
    return dims


def attention(c: Context, p: kinds.Attention) -> Dims:
    query, key, value = (c.dims(t) for t in (p.query, p.key, p.value))
    c.unify(key[-2], value[-2], "attended to together")
    return (*query[:-1], value[-1])


def recurrent(c: Context, p: kinds.Recurrent) -> Dims:
    """Keeps the dimensions of batch and time."""
    return (*c.dims(p.x)[:2], c.unrelated(2))


def index(c: Context, p: kinds.Index) -> Dims:
    """Replaces the indexed dimensions by those of the indices."""
    own = c.dims(p.x)
    places = [i for i, value in enumerate(p.indices) if value is not None]
    indices = [c.dims(value) for value in p.indices if value is not None]
    c.pin([own[i] for i in places], "positions are picked from it")
    rank = max(map(len, indices))
    new = [Dim()] * rank
    for dims in indices:
        for i, dim in enumerate(dims):
            at = rank - len(dims) + i
            new[at] = (
                c.unify(new[at], dim, "indices of that size")
                if new[at].atoms and dim.atoms
                else max(new[at], dim, key=lambda d: len(d.atoms))
            )
    beside = places == list(range(places[0], places[0] + len(places)))
    first = places[0] if beside else 0
    kept = [d for i, d in enumerate(own) if i not in places]
    dims = (*kept[:first], *new, *kept[first:])
    return dims if len(dims) == len(c.out.shape) else c.all_unrelated()  # a mask gives as many as are true


def gather(c: Context, p: kinds.Gather) -> Dims:
    return c.dims(p.index)


def grid_sample(c: Context, p: kinds.GridSample) -> Dims:
    return (*c.dims(p.x)[:2], *c.dims(p.grid)[1:-1])


def write(c: Context, p: kinds.Write) -> Dims:
    """Unites the dimensions of a map and of a source that is written over all of it."""
    if p.dim is None and not p.anywhere:
        return _met(c, c.inputs)
    return c.dims(p.x)


def diagonal(c: Context, p: kinds.Diagonal) -> Dims:
    dims = c.dims(p.x)
    c.pin([dims[i] for i in p.dims], "its diagonal is taken")
    return (*(d for i, d in enumerate(dims) if i not in p.dims), c.unrelated(-1))
