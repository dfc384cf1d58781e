"""Rules of operations that rearrange, cut or join without computing: views, slices, paddings, concatenations."""

from __future__ import annotations

from fractions import Fraction

from dynpool.graph.axes import Atom, Dim, constant_dims

from .context import Context, ints

__all__ = [
    "cat",
    "expand",
    "pad",
    "permute",
    "repeat",
    "select",
    "slice_",
    "split",
    "squeeze",
    "stack",
    "tensor_unfold",
    "unbind",
    "unsqueeze",
    "view",
]

TwoSizes = tuple[int, int | None]  # at tracing, and in the second trace


def _fits(whole: TwoSizes, part: TwoSizes) -> bool:
    """Whether `part` divides `whole` in both traces, as far as known."""
    return part[0] > 0 and whole[0] % part[0] == 0 and (whole[1] is None or part[1] is None or whole[1] % part[1] == 0)


def _rest(whole: TwoSizes, part: TwoSizes) -> TwoSizes:
    return whole[0] // part[0], None if whole[1] is None or part[1] is None else whole[1] // part[1]


def _atoms(c: Context, dim: Dim) -> list[Atom]:
    """The atoms of a dimension; a class that stands for a product is that product."""
    parts = c.classes.parts(dim.axis) if dim.axis is not None else ()
    return list(parts[0].atoms if len(parts) == 1 else dim.atoms)


def view(c: Context) -> tuple[Dim, ...]:
    stack = [a for d in c.first.dims for a in _atoms(c, d)][::-1]
    dims: list[Dim] = []
    for i, n in enumerate(c.out.shape):
        taken: list[Atom] = []
        left: TwoSizes = (n, c.other(i))
        while left[0] > 1 or left[1] not in (None, 1):
            atom = stack.pop() if stack else Atom(1, None, 1)
            here: TwoSizes = (atom.size, atom.other)
            if here not in ((1, 1), (1, None)) and _fits(left, here):
                taken.append(atom)
                left = _rest(left, here)
            elif stack and here == (1, 1):
                continue
            elif atom.size > 1 and _fits(here, left):
                outer, inner = c.cut(atom, left, _rest(here, left))
                taken.append(outer)
                stack.append(inner)
                left = (1, 1)
            else:
                c.pin((Dim((*taken, atom, *stack)),), "a view cuts across it")
                return c.all_unrelated()
        dims.append(c.rejoined(Dim(tuple(taken))))
    return tuple(dims)


def permute(c: Context) -> tuple[Dim, ...]:
    dims = c.first.dims
    if c.node.op == "aten.permute":
        return tuple(dims[i] for i in c.arg(1))
    order = list(range(len(dims)))
    if len(order) > 1:
        a, b = (0, 1) if c.node.op == "aten.t" else (c.arg(1), c.arg(2))
        order[a], order[b] = order[b], order[a]
    return tuple(dims[i] for i in order)


def expand(c: Context) -> tuple[Dim, ...]:
    shape = c.out.shape
    old: tuple[Dim, ...] = (Dim(),) * (len(shape) - len(c.first.dims)) + c.first.dims
    return tuple(
        d if d.size == n and c.other(i) in (None, d.other) else c.unrelated(i)
        for i, (d, n) in enumerate(zip(old, shape, strict=True))
    )


def repeat(c: Context) -> tuple[Dim, ...]:
    shape, times = c.out.shape, c.arg(1)
    old: tuple[Dim, ...] = (Dim(),) * (len(shape) - len(c.first.dims)) + c.first.dims
    dims: list[Dim] = []
    for i, (dim, k) in enumerate(zip(old, times, strict=True)):
        dims.append(dim if k == 1 else Dim((Atom(k, None, k), *dim.atoms)) if dim.axes else c.unrelated(i))
    return tuple(dims)


def unsqueeze(c: Context) -> tuple[Dim, ...]:
    dims = list(c.first.dims)
    at = c.arg(1)
    dims.insert(at if at >= 0 else at + len(dims) + 1, Dim())
    return tuple(dims)


def squeeze(c: Context) -> tuple[Dim, ...]:
    rank = len(c.first.dims)
    only = c.arg(1)
    places = range(rank) if only is None else [d % rank for d in ints(only, 1)]
    return tuple(d for i, d in enumerate(c.first.dims) if not (i in places and c.first.shape[i] == 1))


def select(c: Context) -> tuple[Dim, ...]:
    at = c.arg(1) % len(c.first.dims)
    if c.arg(2) not in (0, -1, c.first.shape[at] - 1):  # the first and the last are there at every size
        c.pin((c.first.dims[at],), "one position is selected")
    return tuple(d for i, d in enumerate(c.first.dims) if i != at)


def unbind(c: Context) -> tuple[Dim, ...]:
    at = c.arg(1, 0) % len(c.first.dims)
    c.pin((c.first.dims[at],), "taken apart position by position")
    return tuple(d for i, d in enumerate(c.first.dims) if i != at)


def slice_(c: Context) -> tuple[Dim, ...]:
    at = c.arg(1, 0) % len(c.first.dims)
    dims = list(c.first.dims)
    dim, step, size, other = dims[at], c.arg(4, 1), c.out.shape[at], c.other(at)
    start = c.arg(2) or 0
    start = min(max(start + dim.size if start < 0 else start, 0), dim.size)
    if step == 1:
        dims[at] = c.section(dim, start, size, other)
        return tuple(dims)
    dim = c.single(dim)
    if dim.axis is None or size == 1:
        c.pin((dim,), "cut to a fixed size")
        dims[at] = c.unrelated(at)
    else:
        axis = c.classes.scaled(dim.axis, Fraction(1, step), size, up=size * step >= dim.size)
        dims[at] = Dim((Atom(size, axis, other),))
    return tuple(dims)


def pad(c: Context) -> tuple[Dim, ...]:
    dims = list(c.first.dims)
    around = [*c.arg(1), *[0] * (2 * len(dims) - len(c.arg(1)))]  # (low, high) from the last dimension to the first
    for i, (dim, n) in enumerate(zip(c.first.dims, c.out.shape, strict=True)):
        other = c.other(i)
        if dim.size == n and other in (None, dim.other):
            continue
        one = c.single(dim)
        low, high = around[2 * (len(dims) - 1 - i) :][:2]
        if one.axis is not None:
            dims[i] = Dim((Atom(n, one.axis, other),))
        elif dim.axes and min(low, high) >= 0 and other is not None and other - n == (dim.other or 0) - dim.size:
            parts = [*constant_dims((low,) * (low > 0)), dim, *constant_dims((high,) * (high > 0))]
            dims[i] = Dim((Atom(n, c.classes.sum(parts), other),))  # tokens of a map, and some beside it
        else:
            dims[i] = c.unrelated(i)
            if not dims[i].axes:
                c.pin((dim,), "padded to a fixed size")
    return tuple(dims)


def split(c: Context) -> tuple[Dim, ...]:
    at = c.arg(2, 0) % len(c.first.dims)
    whole, start = c.first.dims[at], 0
    for k, vid in enumerate(c.node.outputs):
        value = c.graph.values[vid]
        n = value.shape[at]
        part = c.section(whole, start, n, c.other(at, k)) if whole.axes else c.unrelated(at, k)
        value.dims = tuple(part if i == at else d for i, d in enumerate(c.first.dims))
        start += n
    return c.out.dims


def cat(c: Context) -> tuple[Dim, ...]:
    parts = [c.graph.values[v] for v in c.node.inputs if c.graph.values[v].shape != (0,)]
    at = c.arg(1, 0) % len(c.out.shape)
    dims = list(parts[0].dims)
    for part in parts[1:]:
        for i, dim in enumerate(part.dims):
            if i != at and dim.atoms:
                dims[i] = c.unify(dims[i], dim, f"concatenated with a {part.origin} of that size")
    along = [p.dims[at] for p in parts]
    if len(along) > 1:
        varies = any(d.axes for d in along)
        dims[at] = Dim((Atom(c.out.shape[at], c.classes.sum(along), c.other(at)),)) if varies else c.unrelated(at)
    return tuple(dims)


def stack(c: Context) -> tuple[Dim, ...]:
    parts = [c.graph.values[v] for v in c.node.inputs]
    dims = list(parts[0].dims)
    for part in parts[1:]:
        dims = [
            c.unify(a, b, f"stacked with a {part.origin} of that size") for a, b in zip(dims, part.dims, strict=True)
        ]
    at = c.arg(1, 0) % len(c.out.shape)
    dims.insert(at, c.unrelated(at))
    return tuple(dims)


def tensor_unfold(c: Context) -> tuple[Dim, ...]:
    """Windows of a dimension: how many there are varies with its size, their pixels stand in a new last dimension."""
    at, step = c.arg(1) % len(c.first.dims), c.arg(3)
    dims = list(c.first.dims)
    whole, n = c.single(dims[at]), c.out.shape[at]
    if whole.axis is None or n == 1 or c.other(at) in (None, n):
        dims[at] = c.unrelated(at)
    else:
        up = n * step > c.classes.reference(whole.axis)
        axis = c.classes.scaled(whole.axis, Fraction(1, step), n, up=up)
        dims[at] = Dim((Atom(n, axis, c.other(at)),))
    return (*dims, c.unrelated(-1))
