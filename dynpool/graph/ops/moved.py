"""Descriptions of operations that move positions: views, slices, shuffles, paddings, concatenations."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .. import primitives as kinds
from ..record import Primitive
from .operation import Describe, Operation, ints

__all__ = [
    "as_strided",
    "cat",
    "channel_shuffle",
    "flip",
    "pad",
    "patches",
    "pixel_shuffle",
    "pixel_unshuffle",
    "roll",
    "select",
    "slice_",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "unbind",
    "unsqueeze",
]


def as_strided(op: Operation) -> Primitive:
    """A change of memory layout only, such as to channels last."""
    return kinds.Elementwise((op.x,)) if op.x.shape == op.outputs[0].shape else kinds.Opaque(described=False)


def transpose(op: Operation) -> Primitive:
    order = list(range(op.rank))
    if len(order) > 1:
        a, b = op.get("dim0", 0), op.get("dim1", 1)
        order[a], order[b] = order[b], order[a]
    return kinds.Permute(op.x, tuple(order))


def unsqueeze(op: Operation) -> Primitive:
    order: list[int | None] = list(range(op.rank))
    order.insert(op["dim"] % (op.rank + 1), None)
    return kinds.Permute(op.x, tuple(order))


def squeeze(op: Operation) -> Primitive:
    gone = op.dims()
    return kinds.Permute(op.x, tuple([i for i, n in enumerate(op.x.shape) if not (i in gone and n == 1)]))


def slice_(op: Operation) -> Primitive:
    dim = op.dim()
    kept = range(*slice(op["start"], op["end"], op["step"]).indices(op.x.shape[dim]))
    return kinds.Slice(op.x, dim, (kept,))


def select(op: Operation) -> Primitive:
    dim = op.dim()
    at = op["index"] % op.x.shape[dim]
    return kinds.Slice(op.x, dim, (range(at, at + 1),), drop=True)


def unbind(op: Operation) -> Primitive:
    dim = op.dim()
    return kinds.Slice(op.x, dim, tuple([range(at, at + 1) for at in range(op.x.shape[dim])]), drop=True)


def split(op: Operation) -> Primitive:
    dim = op.dim()
    ranges, start = [], 0
    for part in op.outputs:
        ranges.append(range(start, start + part.shape[dim]))
        start += part.shape[dim]
    return kinds.Slice(op.x, dim, tuple(ranges))


def roll(op: Operation) -> Primitive:
    shifts, dims = (ints(op[name], 1) if op[name] != [] else () for name in ("shifts", "dims"))
    if not dims:  # of the flattened tensor
        return kinds.Take(op.x, {None: np.roll(np.arange(math.prod(op.x.shape)), shifts[0])})
    shape = op.x.shape
    return kinds.Take(op.x, {d % op.rank: np.roll(np.arange(shape[d]), s) for s, d in zip(shifts, dims, strict=True)})


def flip(op: Operation) -> Primitive:
    return kinds.Take(op.x, {dim: np.arange(op.x.shape[dim])[::-1] for dim in op.dims("dims")} if op["dims"] else {})


def pad(mode: str) -> Describe:
    def description(op: Operation) -> Primitive:
        pads = op["pad"] if mode == "constant" else op["padding"]
        pairs = [(int(pads[i]), int(pads[i + 1])) for i in range(0, len(pads), 2)]  # from the last dimension on
        return kinds.Pad(op.x, ((0, 0),) * (op.rank - len(pairs)) + tuple(pairs[::-1]), mode)

    return description


def cat(op: Operation) -> Primitive:
    parts = tuple([part for part in op.inputs if part.shape != (0,)])  # an old custom: empty ones of one dimension
    return kinds.Concatenate(parts or op.inputs, int(op["dim"]) % max(len(op.outputs[0].shape), 1))


def stack(op: Operation) -> Primitive:
    return kinds.Concatenate(op.inputs, int(op["dim"]) % len(op.outputs[0].shape), new=True)


def pixel_shuffle(op: Operation) -> Primitive:
    r = op["upscale_factor"]
    *batch, channels, height, width = op.x.shape
    n = len(batch)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return kinds.Regroup(op.x, (*batch, channels // (r * r), r, r, height, width), order, Fraction(r))


def pixel_unshuffle(op: Operation) -> Primitive:
    r = op["downscale_factor"]
    *batch, channels, height, width = op.x.shape
    n = len(batch)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return kinds.Regroup(op.x, (*batch, channels, height // r, r, width // r, r), order, Fraction(1, r))


def channel_shuffle(op: Operation) -> Primitive:
    n, channels, *rest = op.x.shape
    groups = op["groups"]
    split = (n, groups, channels // groups, *rest)
    return kinds.Regroup(op.x, split, (0, 2, 1, *range(3, len(split))))


def patches(kind: type[kinds.Patches] | type[kinds.Fold]) -> Describe:
    names = ("kernel_size", "stride", "padding", "dilation")
    return lambda op: kind(op.x, *(ints(op[name], 2) for name in names))
