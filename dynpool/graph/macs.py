"""Multiply-accumulates of a recorded pass: those of its convolutions and matrix products, and by users' formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .axes import Axes
from .axis_rules import more_specific
from .dims import Dim
from .ops import formula_of, macs_by_formula
from .primitives import Product, Recurrent, Window
from .record import Node, Record

__all__ = ["Mac", "find_macs", "macs_by_node"]


@dataclass(frozen=True)
class Mac:
    """Multiply-accumulates of one operation at tracing; they grow in proportion to each axis in `axes`."""

    node: int
    kind: str
    path: str
    macs: int
    axes: tuple[tuple[int, int], ...]  # (axis class, size at tracing)


def macs_by_node(record: Record) -> dict[int, int]:
    """Multiply-accumulates for one image, by node index, of all operations that have any."""
    counted = ((node.index, _count(record, node)) for node in record.nodes)
    return {
        # what does not divide is no work on images
        index: macs // record.batch if macs % record.batch == 0 else macs
        for index, macs in counted
        if macs is not None
    }


def _count(record: Record, node: Node) -> int | None:
    by_formula = macs_by_formula(record, node)
    if by_formula is not None:
        return by_formula
    p = node.primitive
    if isinstance(p, Window) and p.weight is not None:
        positions = p.x if p.transposed else record.values[node.outputs[0]]
        return math.prod(positions.shape) * math.prod(p.weight.shape[1:])
    if isinstance(p, Product) and len(p.b.shape) > 1:
        return math.prod(p.a.shape) * p.b.shape[-1]
    if isinstance(p, Recurrent):  # every weight is used once for each step of each sequence
        weights = (w.shape for w in p.parameters if w.origin == "parameter" and len(w.shape) == 2)
        return math.prod(p.x.shape[:2]) * sum(map(math.prod, weights))
    return None


def find_macs(record: Record, axes: Axes) -> list[Mac]:
    """The same with the axes that they grow with."""
    found = []
    for index, macs in macs_by_node(record).items():
        node = record.nodes[index]
        grows = ((a.axis, a.size) for dim in _dims(node, axes) for a in dim.atoms if a.axis is not None)
        found.append(Mac(index, node.op, node.path, macs, tuple(grows)))
    return found


def _dims(node: Node, axes: Axes) -> Iterator[Dim]:
    """The dimensions that the MACs of an operation are proportional to."""
    p, out = node.primitive, axes.dims[node.outputs[0]]
    if formula_of(node.op) is not None:
        yield from out
    elif isinstance(p, Window):
        yield from (axes.dims[p.x.id] if p.transposed else out)[-len(p.kernel) :]
    elif isinstance(p, Product):
        yield from out
        yield more_specific(axes.dims[p.a.id][-1], axes.dims[p.b.id][-2])
    elif isinstance(p, Recurrent):
        yield from axes.dims[p.x.id][:2]
