"""Walks a traced graph and computes the field of every tensor that depends on the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dynpool.graph import PLAIN, Graph, Node, Primitive, Value

from .positions import Field, Taps, Term
from .steps import Layer
from .writes import Writes

__all__ = ["Call", "Domain", "LayerOf", "Rule", "ViewInverse", "Walk"]

Ints = tuple[int, ...]


class Domain(Protocol):
    """The computation of a walk: `RecurrenceDomain` fields by the recurrence, or `ExactDomain`, pixel-exact regions."""

    def start(self, shape: Sequence[int]) -> Field: ...
    def global_field(self, terms: Sequence[Term], rank: int) -> Field: ...
    def window(
        self, terms: Sequence[Term], taps: Mapping[int, Taps], layer: Callable[[], Layer] | None = None
    ) -> Field: ...
    def gather(self, term: Term, dim: int, index: NDArray[np.intp]) -> Term: ...
    def mix(self, term: Term, dims: Sequence[int]) -> Term: ...
    def settle(self, term: Term, before: Term) -> Term | None: ...
    def pad(self, term: Term, dim: int, size: int, before: int, after: int) -> Term: ...
    def place(self, term: Term, dim: int, index: NDArray[np.intp], *, runs: bool) -> Term: ...
    def beside(self, terms: Sequence[Term], dim: int) -> list[Term]: ...
    def repeat(self, term: Term, dim: int, before: int, after: int, index: NDArray[np.intp]) -> Term: ...
    def accumulate(self, term: Term, dim: int) -> Term: ...
    def join(self, terms: Sequence[Term]) -> Field: ...
    def cat(self, fields: Sequence[Field | None], dim: int, sizes: Sequence[int]) -> Field: ...
    def whole(self, field: Field) -> Field: ...


class Call:
    """One operation as passed to its rule: its outputs, the fields of tensors, and operations on fields."""

    def __init__(self, walk: Walk, node: Node) -> None:
        self.walk = walk
        self.node = node
        self.domain = walk.domain

    @property
    def out_shape(self) -> Ints:
        return self.walk.graph.values[self.node.outputs[0]].shape

    def field(self, value: Value | None) -> Field | None:
        """The field of a tensor, with its parts; None if it does not depend on the image."""
        return None if value is None else self.walk.fields.get(value.id)

    def terms(self, value: Value | None, rank: int | None = None) -> tuple[Term, ...]:
        """The terms of a tensor, with leading dimensions of size 1 added up to the given rank."""
        field = self.field(value)
        if field is None:
            return ()
        terms = self.domain.whole(field).terms
        return terms if rank is None else tuple(t.of_rank(rank) for t in terms)

    def fields(self) -> list[Field]:
        """The fields of all tensor arguments that depend on the image."""
        return [self.walk.fields[v] for v in self.node.inputs if v in self.walk.fields]

    def each(self, value: Value, move: Callable[[Term], Term]) -> Field:
        return self.domain.join([move(t) for t in self.terms(value)])

    def moved(self, value: Value, move: Callable[[Term], Term]) -> Field | None:
        """The field after positions are moved such that the first or the distance of neighbours may change."""
        found = [settled for t in self.terms(value) if (settled := self.domain.settle(move(t), t)) is not None]
        return self.domain.join(found) if found else None

    def everything(self) -> Field:
        """A field in which every position of the first output sees everything that any argument saw."""
        return self.domain.global_field(
            [t for f in self.fields() for t in self.domain.whole(f).terms], len(self.out_shape)
        )

    def not_understood(self) -> Field:
        """As `everything`, and listed in the report as not understood."""
        missed = self.walk.not_understood
        missed[self.node.op] = missed.get(self.node.op, 0) + 1
        return self.everything()


Rule = Callable[[Call, Any], "Field | None | list[Field | None]"]
ViewInverse = Callable[[Call, Any, "Field | None", int], "Field | None"]
LayerOf = Callable[[Call, Sequence[tuple[int, int, int]]], Layer]


class Walk:
    """The fields of all tensors of a graph that depend on the image, in a domain.

    Args:
        graph: the trace.
        domain: the computation to run.
        rules: the rule of each kind of primitive, called with the call and the primitive.
        view_inverses: the rules that propagate writes from a view to its base, by kind of view: called with the call,
            the primitive, the field that was written to an output, and the index of that output.
        layer: makes the row of a window, given the call and its `Layer.whole`.
    """

    def __init__(
        self,
        graph: Graph,
        domain: Domain,
        rules: Mapping[type[Primitive], Rule],
        view_inverses: Mapping[type[Primitive], ViewInverse],
        layer: LayerOf | None = None,
    ) -> None:
        self.graph = graph
        self.domain = domain
        self.rules = rules
        self.view_inverses = view_inverses
        self.layer = layer
        self.fields: dict[int, Field] = {}  # of values that are still used
        self.of_image: set[int] = set()  # all values that have had one
        self.empty: dict[int, Field] = {}  # of empty slices, whose limits may depend on the image
        self.not_understood: dict[str, int] = {}
        for value in graph.inputs:
            self.keep(value, domain.start(graph.values[value].shape))

    def run(self, visit: Callable[[Node, Field], None] | None = None) -> None:
        """Apply the rules in order of execution; `visit` is called for every operation whose output has a field."""
        writes = Writes(self)
        for node in self.graph.nodes:
            if not node.outputs:
                continue
            if any(v in self.fields for v in node.inputs):
                self.apply(node)
            elif any(v in self.empty for v in node.inputs):
                self._fill(node)
            if node.aliasing != PLAIN:
                writes.follow(node)
            if visit is not None and node.outputs[0] in self.fields:
                visit(node, self.fields[node.outputs[0]])
            for value in node.inputs:
                if writes.used[value] <= node.index:  # and no view of it is used any more
                    self.fields.pop(value, None)

    def apply(self, node: Node) -> None:
        """Compute the fields of the outputs of an operation."""
        call = Call(self, node)
        found = self.rules[type(node.primitive)](call, node.primitive)
        fields = (
            found if isinstance(found, list) else [found, *(self._of_other(call, found, v) for v in node.outputs[1:])]
        )
        for value, field in zip(node.outputs, fields, strict=True):
            self.keep(value, field)

    def _fill(self, node: Node) -> None:
        """Give what is computed from an empty slice a global field: its limits may depend on the image."""
        terms = [t for v in node.inputs if v in self.empty for t in self.domain.whole(self.empty[v]).terms]
        for value in node.outputs:
            self.keep(value, self.domain.global_field(terms, len(self.graph.values[value].shape)))

    def _of_other(self, call: Call, field: Field | None, value: int) -> Field | None:
        """The field of an output other than the first, derived from the field that the rule gave the first."""
        rank = len(self.graph.values[value].shape)
        if field is None or rank == len(call.out_shape):
            return field
        return self.domain.global_field(self.domain.whole(field).terms, rank)

    def keep(self, value: int, field: Field | None) -> None:
        """Set the field of a value; None if it does not depend on the image."""
        self.fields.pop(value, None)
        if field is not None:
            self.of_image.add(value)
            (self.empty if 0 in self.graph.values[value].shape else self.fields)[value] = field

    def write_through(self, maker: Node, value: int, field: Field | None) -> Field | None:
        """The field of the base of the view `value`, made by `maker`, after a write to the view."""
        call = Call(self, maker)
        rule = self.view_inverses.get(type(maker.primitive))
        if rule is not None:
            return rule(call, maker.primitive, field, maker.outputs.index(value))
        call.not_understood()
        terms = [t for f in (*call.fields(), field) if f is not None for t in self.domain.whole(f).terms]
        return self.domain.global_field(terms, len(self.graph.values[maker.inputs[0]].shape)) if terms else None
