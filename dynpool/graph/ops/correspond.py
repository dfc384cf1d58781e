"""Descriptions of operations whose positions correspond: element by element, made like another, normalised."""

from __future__ import annotations

from .. import primitives as kinds
from ..record import Primitive
from .operation import Operation

__all__ = ["batch_norm", "elementwise", "group_norm", "layer_norm", "like", "made", "same", "softmax"]


def elementwise(op: Operation) -> Primitive:
    return kinds.Elementwise(op.inputs)


def same(op: Operation) -> Primitive:
    return kinds.Elementwise((op.x,))


def like(op: Operation) -> Primitive:
    return kinds.Make(op.x)


def made(op: Operation) -> Primitive:
    return kinds.Make()


def softmax(op: Operation) -> Primitive:
    return kinds.Normalize(op.x, op.dims())


def layer_norm(op: Operation) -> Primitive:
    covered = tuple(range(op.rank - len(op["normalized_shape"]), op.rank))
    return kinds.Normalize(op.x, covered, covered if len(op.inputs) > 1 else ())


def group_norm(op: Operation) -> Primitive:
    """Its statistics are taken over height and width as well."""
    return kinds.Normalize(op.x, tuple(range(1, op.rank)), (1,) if len(op.inputs) > 1 else ())


def batch_norm(op: Operation) -> Primitive:
    """Its statistics are constants of the model, unless it takes them of the map."""
    over = (0, *range(2, op.rank)) if op.get("training", "no_training" not in op.name) else ()
    return kinds.Normalize(op.x, over, (1,) if len(op.inputs) > 1 else ())
