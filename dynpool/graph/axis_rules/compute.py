"""Rules of operations that compute: element by element, over a dimension, as a product of matrices, by index."""

from __future__ import annotations

import math

from dynpool.graph.axes import Dim

from .context import Context, ints

__all__ = [
    "embedding",
    "factory",
    "gather",
    "index",
    "matmul",
    "normalized",
    "partly",
    "pointwise",
    "recurrent",
    "reduce",
    "reduce_norm",
    "same",
    "transform",
    "unknown",
]


def same(c: Context) -> tuple[Dim, ...]:
    return c.first.dims


def factory(c: Context) -> tuple[Dim, ...]:
    """A tensor made during the pass: of fixed numbers, or of sizes that the model's code computed."""
    return c.all_unrelated()


def unknown(c: Context) -> tuple[Dim, ...]:
    touched = [d for v in c.node.inputs for d in c.graph.values[v].dims]
    if any(d.axes for d in touched):
        c.pin(touched, "an operation without a rule")
        c.graph.not_understood[c.node.op] = c.graph.not_understood.get(c.node.op, 0) + 1
    return c.all_unrelated()


def pointwise(c: Context) -> tuple[Dim, ...]:
    rank = len(c.out.shape)
    dims: list[Dim] = [Dim()] * rank
    for vid in c.node.inputs:
        value = c.graph.values[vid]
        for i, dim in enumerate(value.dims):
            at = rank - len(value.dims) + i
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


def normalized(c: Context) -> tuple[Dim, ...]:
    """Normalisation: of the first input's shape; weights over an axis pin it."""
    if len(c.node.inputs) > 1:
        if c.node.op == "aten.native_layer_norm":
            covered = c.first.dims[len(c.first.dims) - len(c.arg(1)) :]
        else:
            covered = c.first.dims[1:2]
        c.pin(covered, "normalised with a weight of that size")
    return c.first.dims


def _reduced(c: Context, over: object, keep: bool) -> tuple[Dim, ...]:
    rank = len(c.first.dims)
    if over is None or over == []:
        return c.all_unrelated()
    gone = {d % rank for d in ints(over, 1)} if rank else set()
    return tuple(Dim() if i in gone else d for i, d in enumerate(c.first.dims) if keep or i not in gone)


def reduce(c: Context) -> tuple[Dim, ...]:
    kwargs = c.node.kwargs
    return _reduced(c, c.arg(1, kwargs.get("dim")), bool(c.arg(2, kwargs.get("keepdim", False))))


def reduce_norm(c: Context) -> tuple[Dim, ...]:
    """As `reduce`, behind the order of the norm."""
    kwargs = c.node.kwargs
    return _reduced(c, c.arg(2, kwargs.get("dim")), bool(c.arg(3, kwargs.get("keepdim", False))))


def partly(c: Context) -> tuple[Dim, ...]:
    """The first input's dimensions where the size is the same (topk, unequal FFT halves), else unrelated ones."""
    return tuple(
        d if d.size == n and c.other(i) in (None, d.other) else c.unrelated(i)
        for i, (d, n) in enumerate(zip(c.first.dims, c.out.shape, strict=True))
    )


def transform(c: Context) -> tuple[Dim, ...]:
    """Fourier transforms, of which a one-sided one halves a dimension; pairs of numbers seen as complex and back."""
    if c.node.op == "aten.view_as_real":
        return (*c.first.dims, c.unrelated(-1))
    if c.node.op == "aten.view_as_complex":
        return c.first.dims[:-1]
    return partly(c)


def matmul(c: Context) -> tuple[Dim, ...]:
    a, b = (c.graph.values[v] for v in c.node.inputs[-2:])
    inner = c.unify(a.dims[-1], b.dims[-2], "multiplied with a matrix of that size")
    dims: tuple[Dim, ...] = (*a.dims[:-1], b.dims[-1])
    if len(a.dims) == 3:
        dims = (c.unify(a.dims[0], b.dims[0], "a batch of matrices"), *dims[1:])
    if len(c.node.inputs) > 2:
        added = c.first.dims
        for i, dim in enumerate(added):
            at = len(dims) - len(added) + i
            if dim.atoms:
                c.unify(dims[at], dim, f"combined with a {_origin(c.first.origin)} of that size")
    c.mac(math.prod(a.shape) * b.shape[-1], (*dims, inner))
    return dims


def recurrent(c: Context) -> tuple[Dim, ...]:
    """A recurrent network over sequences: batch and time stay. Every weight is used once for each step of each."""
    weights = (c.graph.values[v].shape for v in c.node.inputs if c.graph.values[v].origin == "parameter")
    steps = math.prod(c.first.shape[:2])
    c.mac(steps * sum(math.prod(shape) for shape in weights if len(shape) == 2), c.first.dims[:2])
    return (*c.first.dims[:2], c.unrelated(2))


def index(c: Context) -> tuple[Dim, ...]:
    """Advanced indexing: the indexed dimensions become those of the indices."""
    places = [i for i, ref in enumerate(c.arg(1)) if ref is not None]
    indices = [c.value(c.arg(1)[i]) for i in places]
    c.pin([c.first.dims[i] for i in places], "positions are picked from it")
    rank = max(len(v.shape) for v in indices)
    new = [Dim()] * rank
    for value in indices:
        for i, dim in enumerate(value.dims):
            at = rank - len(value.dims) + i
            new[at] = (
                c.unify(new[at], dim, "indices of that size")
                if new[at].atoms and dim.atoms
                else max(new[at], dim, key=lambda d: len(d.atoms))
            )
    beside = places == list(range(places[0], places[0] + len(places)))
    first = places[0] if beside else 0
    kept = [d for i, d in enumerate(c.first.dims) if i not in places]
    dims = (*kept[:first], *new, *kept[first:])
    return dims if len(dims) == len(c.out.shape) else c.all_unrelated()  # a mask gives as many as are true


def gather(c: Context) -> tuple[Dim, ...]:
    return c.value(c.arg(2)).dims


def embedding(c: Context) -> tuple[Dim, ...]:
    return (*c.value(c.arg(1)).dims, c.unrelated(-1))
