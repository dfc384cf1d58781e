"""Rules of the operations that move positions about: views, permutations, slices, rolls, concatenations, indexing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynpool.graph.ir import ValueRef

from ..positions import Field, Term
from ..propagate import Call, Rule

__all__ = ["MOVE_RULES", "order_of", "sliced", "unsqueezed", "without"]

Index = NDArray[np.intp]


def _same(c: Call) -> Field | None:
    return c.field(c.node.args[0])


def _view(c: Call) -> Field | None:
    x = c.node.args[0]
    old, new = c.shape(x), c.out_shape
    field = c.field(x)
    if field is None or old == new:
        return field
    return c.each(x, lambda t: t.viewed(old, new))


def _as_strided(c: Call) -> Field | None:
    """Another layout in memory of the same shape, as it is asked for to lay channels last."""
    return c.field(c.node.args[0]) if c.shape(c.node.args[0]) == c.out_shape else c.not_understood()


def _permuted(c: Call, order: Sequence[int]) -> Field | None:
    field = c.field(c.node.args[0])
    if field is not None and field.parts is not None:
        dim, parts = field.parts
        moved = [(n, None if p is None else c.domain.whole(p).map(lambda t: t.permuted(order))) for n, p in parts]
        return Field(tuple(t.permuted(order) for t in field.terms), (list(order).index(dim), tuple(moved)))
    return c.each(c.node.args[0], lambda t: t.permuted(order))


def order_of(c: Call) -> list[int]:
    """Which dimension of its argument each dimension of a permutation's result is."""
    order = list(range(len(c.out_shape)))
    if c.node.op == "aten.permute":
        return [d % len(order) for d in c.node.args[1]]
    if len(order) > 1:
        a, b = (0, 1) if c.node.op == "aten.t" else (c.node.args[1], c.node.args[2])
        order[a], order[b] = order[b], order[a]
    return order


def _permute(c: Call) -> Field | None:
    return _permuted(c, order_of(c))


def _expand(c: Call) -> Field:
    return c.each(c.node.args[0], lambda t: t.of_rank(len(c.out_shape)))


def unsqueezed(term: Term, at: int) -> Term:
    """The term of a tensor that gets a dimension of size 1 at the given place."""
    return term.map(lambda a: np.expand_dims(a, at), lambda dim: dim + (dim >= at))


def _unsqueeze(c: Call) -> Field:
    at = c.node.args[1] % len(c.out_shape)
    return c.each(c.node.args[0], lambda t: unsqueezed(t, at))


def without(term: Term, dims: Sequence[int]) -> Term:
    """The term of a tensor that loses dimensions of size 1."""
    gone = set(dims)

    def home(dim: int) -> int | None:
        return None if dim in gone else dim - sum(g < dim for g in gone)

    return term.map(lambda a: a.reshape([n for i, n in enumerate(a.shape) if i not in gone]), home)


def _squeeze(c: Call) -> Field:
    shape = c.shape(c.node.args[0])
    only = c.arg(1, "dim")
    places = range(len(shape)) if only is None else [only] if isinstance(only, int) else only
    gone = [d % len(shape) for d in places if shape[d] == 1]
    return c.each(c.node.args[0], lambda t: without(t, gone))


# --- some of the positions --------------------------------------------------------------------------------------------


def _picked(c: Call, x: Any, dim: int, index: Index) -> Field | None:
    """The field of the entries `index` along a dimension: of the parts they lie in, where the field is in parts."""
    field = c.field(x)
    if field is None or not len(index):
        return None
    if field.parts is not None and field.parts[0] == dim:
        found, start = [], 0
        for size, part in field.parts[1]:
            inside = index[(index >= start) & (index < start + size)] - start
            if len(inside):
                found.append((len(inside), part))
            start += size
        if bool((np.diff(index) > 0).all()):
            held = [part for _, part in found if part is not None]
            if len(found) == 1:
                return held[0] if held else None
            return c.domain.cat([p for _, p in found], dim, [n for n, _ in found]) if held else None
    whole = c.domain.whole(field)
    if not any(t.along(dim) for t in whole.terms):
        return field if field.parts is None or field.parts[0] != dim else whole
    return c.moved(x, lambda t: t.taken(dim, index))


def sliced(c: Call) -> tuple[int, Index]:
    """The dimension of a slice and the positions that it keeps."""
    shape = c.shape(c.node.args[0])
    dim = c.arg(1, "dim", 0) % len(shape)
    start, stop, step = c.arg(2, "start"), c.arg(3, "end"), c.arg(4, "step", 1)
    return dim, np.arange(shape[dim])[slice(start, stop, step)]


def _slice(c: Call) -> Field | None:
    x = c.node.args[0]
    dim, index = sliced(c)
    return c.field(x) if len(index) == c.shape(x)[dim] else _picked(c, x, dim, index)


def _dropped(c: Call, field: Field | None, dim: int) -> Field | None:
    return None if field is None else c.domain.whole(field).map(lambda t: without(t, [dim]))


def _select(c: Call) -> Field | None:
    x = c.node.args[0]
    shape = c.shape(x)
    dim = c.node.args[1] % len(shape)
    return _dropped(c, _picked(c, x, dim, np.asarray([c.node.args[2] % shape[dim]])), dim)


def _unbind(c: Call) -> list[Field | None]:
    x = c.node.args[0]
    shape = c.shape(x)
    dim = c.arg(1, "dim", 0) % len(shape)
    return [_dropped(c, _picked(c, x, dim, np.asarray([i])), dim) for i in range(shape[dim])]


def _split(c: Call) -> list[Field | None]:
    x = c.node.args[0]
    dim = c.arg(2, "dim", 0) % len(c.shape(x))
    sizes = [c.walk.graph.values[v].shape[dim] for v in c.node.outputs]
    starts = np.cumsum([0, *sizes])
    return [_picked(c, x, dim, np.arange(a, a + n)) for a, n in zip(starts, sizes, strict=False)]


def _roll(c: Call) -> Field | None:
    x = c.node.args[0]
    shape = c.shape(x)
    shifts, dims = ([v] if isinstance(v, int) else list(v) for v in (c.node.args[1], c.arg(2, "dims", ())))
    if not dims:  # of the flattened tensor
        flat = (math.prod(shape),)
        index = np.roll(np.arange(flat[0]), shifts[0])
        return c.moved(x, lambda t: t.viewed(shape, flat).taken(0, index).viewed(flat, shape))

    def move(term: Term) -> Term:
        for shift, dim in zip(shifts, dims, strict=True):
            term = term.taken(dim, np.roll(np.arange(shape[dim]), shift))
        return term

    return c.moved(x, move)


def _flip(c: Call) -> Field | None:
    x = c.node.args[0]

    def move(term: Term) -> Term:
        for dim in c.node.args[1]:
            term = term.taken(dim, np.arange(c.shape(x)[dim])[::-1])
        return term

    return c.moved(x, move)


def _unfold(c: Call) -> Field | None:
    x, dim, size, step = c.node.args[:4]
    shape = c.shape(x)
    dim %= len(shape)
    n = c.out_shape[dim]
    index = (np.arange(n)[:, None] * step + np.arange(size)[None, :]).ravel()
    rolled, apart = [*shape], [*shape]
    rolled[dim : dim + 1], apart[dim : dim + 1] = [n * size], [n, size]
    order = [i for i in range(len(apart)) if i != dim + 1] + [dim + 1]
    return c.moved(x, lambda t: t.taken(dim, index).viewed(rolled, apart).permuted(order))


# --- more positions ---------------------------------------------------------------------------------------------------


def _constant_pad(c: Call) -> Field | None:
    x, pads = c.node.args[:2]
    shape = c.shape(x)

    def move(term: Term) -> Term:
        for i in range(len(pads) // 2):
            dim, (before, after) = len(shape) - 1 - i, pads[2 * i : 2 * i + 2]
            kept = np.arange(max(0, -before), shape[dim] - max(0, -after))
            if len(kept) < shape[dim]:
                term = term.taken(dim, kept)
            if before > 0 or after > 0:
                term = c.domain.pad(term, dim, len(kept), max(before, 0), max(after, 0))
        return term

    return c.moved(x, move)


def _mirrored_pad(mode: str) -> Rule:
    def rule(c: Call) -> Field | None:
        """Positions that repeat ones inside; by the recurrence they run on, as those of a padding with zeros."""
        x, pads = c.node.args[:2]
        shape = c.shape(x)

        def move(term: Term) -> Term:
            for i in range(len(pads) // 2):
                dim, (before, after) = len(shape) - 1 - i, pads[2 * i : 2 * i + 2]
                index = np.pad(np.arange(shape[dim]), (before, after), mode=mode)  # type: ignore[call-overload]
                term = c.domain.repeat(term, dim, before, after, index)
            return term

        return c.moved(x, move)

    return rule


def _cat(c: Call) -> Field | None:
    tensors = c.node.args[0]
    rank = len(c.out_shape)
    dim = c.arg(1, "dim", 0) % rank
    tensors = [t for t in tensors if len(c.shape(t)) == rank]  # an old custom: empty ones of one dimension
    return c.domain.cat([c.field(t) for t in tensors], dim, [c.shape(t)[dim] for t in tensors])


def _stack(c: Call) -> Field | None:
    dim = c.arg(1, "dim", 0) % len(c.out_shape)
    tensors = c.node.args[0]
    fields = [None if c.field(t) is None else c.each(t, lambda term: unsqueezed(term, dim)) for t in tensors]
    return c.domain.cat(fields, dim, [1] * len(fields))


def _repeat(c: Call) -> Field | None:
    x, times = c.node.args[:2]
    rank = len(times)
    shape = (1,) * (rank - len(c.shape(x))) + c.shape(x)

    def move(term: Term) -> Term:
        term = term.of_rank(rank)
        for dim, n in enumerate(times):
            if n > 1:
                term = term.taken(dim, np.tile(np.arange(shape[dim]), n))
        return term

    return c.moved(x, move)


def _regrouped(c: Call, split: tuple[int, ...], last: tuple[int, ...]) -> Field:
    """The first argument seen as `split`, its last dimensions in another order, and seen as the output again."""
    x, front = c.node.args[0], len(split) - len(last)
    order = (*range(front), *(front + i for i in last))
    moved = tuple(split[i] for i in order)
    return c.each(x, lambda t: t.viewed(c.shape(x), split).permuted(order).viewed(moved, c.out_shape))


def _pixel_shuffle(c: Call) -> Field:
    x, r = c.node.args[:2]
    *batch, channels, height, width = c.shape(x)
    split = (*batch, channels // (r * r), r, r, height, width)
    return _regrouped(c, split, (0, 3, 1, 4, 2))


def _pixel_unshuffle(c: Call) -> Field:
    x, r = c.node.args[:2]
    *batch, channels, height, width = c.shape(x)
    split = (*batch, channels, height // r, r, width // r, r)
    return _regrouped(c, split, (0, 2, 4, 1, 3))


def _channel_shuffle(c: Call) -> Field:
    x, groups = c.node.args[:2]
    n, channels, *rest = c.shape(x)
    split = (n, groups, channels // groups, *rest)
    return _regrouped(c, split, (1, 0, *range(2, len(split) - 1)))


# --- indexing by tensors ----------------------------------------------------------------------------------------------


def _index(c: Call) -> Field:
    """x[..., index, ...]: any position along an indexed dimension may be read, unless the index is known."""
    x, indices = c.node.args[0], c.node.args[1]
    shape = c.shape(x)
    indexed = [d for d, i in enumerate(indices) if i is not None]
    if any(isinstance(i, ValueRef) and c.field(i) is not None for i in indices):
        return c.everything()
    known = c.walk.graph.values[indices[indexed[0]].id].data if len(indexed) == 1 else None
    kept = len(shape) - len(indexed)
    together = indexed == list(range(indexed[0], indexed[-1] + 1))
    new = len(c.out_shape) - kept
    at = indexed[0] if together else 0

    def move(term: Term) -> Term:
        if known is not None and term.along(indexed[0]):
            dim = indexed[0]
            term = term.taken(dim, known.numpy().ravel() % shape[dim])
            flat = [known.numel() if i == dim else n for i, n in enumerate(shape)]
            return term.viewed(flat, c.out_shape)
        term = without(c.domain.mix(term, [d for d in indexed if term.along(d)]), indexed)
        return term.map(lambda a: a.reshape([*a.shape[:at], *[1] * new, *a.shape[at:]]), lambda d: d + new * (d >= at))

    return c.moved(x, move) or c.everything()


def _index_select(c: Call) -> Field | None:
    x, dim, index = c.node.args[:3]
    dim %= len(c.shape(x))
    known = c.walk.graph.values[index.id].data
    if c.field(index) is not None:
        return c.everything()
    if known is not None:
        return _picked(c, x, dim, known.numpy().ravel() % c.shape(x)[dim])
    return c.each(x, lambda t: c.domain.mix(t, [dim]) if t.along(dim) else t)


def _gather(c: Call) -> Field:
    x, dim, index = c.node.args[:3]
    dim %= max(len(c.shape(x)), 1)
    if c.field(index) is not None:
        return c.everything()
    return c.each(x, lambda t: c.domain.mix(t, [dim]) if t.along(dim) else t)


def _diagonal(c: Call) -> Field | None:
    x = c.node.args[0]
    shape = c.shape(x)
    offset, a, b = c.arg(1, "offset", 0), c.arg(2, "dim1", 0) % len(shape), c.arg(3, "dim2", 1) % len(shape)
    n = c.out_shape[-1]
    rows, columns = np.arange(n) + max(-offset, 0), np.arange(n) + max(offset, 0)
    order = [i for i in range(len(shape)) if i not in (a, b)] + [a, b]

    def move(term: Term) -> Term:
        def pick(array: NDArray[np.float64]) -> NDArray[np.float64]:
            array = array.transpose(order)
            i = rows if array.shape[-2] > 1 else rows * 0
            j = columns if array.shape[-1] > 1 else columns * 0
            found = array[..., i, j]
            return found if array.shape[-2] > 1 or array.shape[-1] > 1 else found[..., :1]

        return replace(term.map(pick), home=(None,) * len(term.home))

    return c.moved(x, move)


def _named(names: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


MOVE_RULES: dict[str, Rule] = {
    **_named("clone contiguous _to_copy detach alias lift_fresh native_dropout dropout to conj resolve_conj", _same),
    **_named("view _unsafe_view reshape _reshape_alias flatten view_as_real view_as_complex", _view),
    **_named("as_strided", _as_strided),
    **_named("permute transpose t", _permute),
    **_named("expand expand_copy", _expand),
    **_named("unsqueeze", _unsqueeze),
    **_named("squeeze", _squeeze),
    **_named("slice", _slice),
    **_named("select", _select),
    **_named("unbind", _unbind),
    **_named("split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unsafe_chunk", _split),
    **_named("roll", _roll),
    **_named("flip", _flip),
    **_named("unfold", _unfold),
    **_named("constant_pad_nd", _constant_pad),
    **_named("reflection_pad1d reflection_pad2d reflection_pad3d", _mirrored_pad("reflect")),
    **_named("replication_pad1d replication_pad2d replication_pad3d", _mirrored_pad("edge")),
    **_named("cat", _cat),
    **_named("stack", _stack),
    **_named("repeat", _repeat),
    **_named("pixel_shuffle", _pixel_shuffle),
    **_named("pixel_unshuffle", _pixel_unshuffle),
    **_named("channel_shuffle native_channel_shuffle", _channel_shuffle),
    **_named("index _unsafe_index", _index),
    **_named("index_select", _index_select),
    **_named("gather", _gather),
    **_named("diagonal", _diagonal),
}
