"""Descriptions of operations that read or write positions by index."""

from __future__ import annotations

from .. import primitives as kinds
from ..record import Primitive, Value
from .operation import Describe, Operation

__all__ = [
    "copy",
    "embedding",
    "gather",
    "grid_sample",
    "index",
    "index_put",
    "index_select",
    "opaque",
    "write_along",
    "write_anywhere",
]


def index(op: Operation) -> Primitive:
    return kinds.Index(op.x, tuple(op["indices"]))


def index_select(op: Operation) -> Primitive:
    return kinds.Index(op.x, (*[None] * op.dim(), op["index"]))


def embedding(op: Operation) -> Primitive:
    return kinds.Index(op["weight"], (op["indices"],))


def gather(op: Operation) -> Primitive:
    return kinds.Gather(op.x, op.dim(), op["index"])


def grid_sample(op: Operation) -> Primitive:
    return kinds.GridSample(op["input"], op["grid"])


def copy(op: Operation) -> Primitive:
    source = op.get("src", op.get("other"))
    return kinds.Write(op.x, source if isinstance(source, Value) else None)


def index_put(op: Operation) -> Primitive:
    indexed = [(dim, index) for dim, index in enumerate(op["indices"]) if index is not None]
    if len(indexed) != 1:
        return kinds.Write(op.x, op["values"], anywhere=True)
    ((dim, index),) = indexed
    return kinds.Write(op.x, op["values"], dim, index, kept=bool(op["accumulate"]))


def write_along(source: str, *, kept: bool = False) -> Describe:
    def description(op: Operation) -> Primitive:
        written = op[source]
        return kinds.Write(op.x, written if isinstance(written, Value) else None, op.dim(), op["index"], kept=kept)

    return description


def write_anywhere(op: Operation) -> Primitive:
    return kinds.Write(op.x, None, anywhere=True)


def opaque(op: Operation) -> Primitive:
    return kinds.Opaque()
