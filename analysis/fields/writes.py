"""Propagates in-place writes through aliases: from a tensor or view to its base and its other views."""

from __future__ import annotations

from typing import Protocol

from dynpool.graph import Graph, Node

from .positions import Field

__all__ = ["Writes"]


class Walk(Protocol):
    """The known fields of a graph's values, and methods that compute more."""

    graph: Graph
    fields: dict[int, Field]

    def keep(self, value: int, field: Field | None) -> None: ...
    def apply(self, node: Node) -> None: ...
    def write_through(self, node: Node, value: int, field: Field | None) -> Field | None: ...


class Writes:
    """Keeps the fields of values that share memory consistent.

    Args:
        walk: the walk that computes the fields.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.oldest: dict[int, int] = {}  # of the values that are one tensor, the first
        self.same: dict[int, list[int]] = {}  # by that one, all of them
        self.views: dict[int, list[Node]] = {}  # by that one, the operations that took views of it
        self.used = _last_uses(walk.graph)

    def follow(self, node: Node) -> None:
        """Record a view, or update the fields of all values that share memory with the target of a write."""
        if node.aliasing.view and node.inputs:
            self.views.setdefault(self._first(node.inputs[0]), []).append(node)
        for target, new in node.written:
            first = self._first(target)
            before, field = self.walk.fields.get(first), self.walk.fields.get(new)
            self.oldest[new] = first
            self.same.setdefault(first, [first]).append(new)
            if field is not before:
                self._write(first, field, node)

    def _first(self, value: int) -> int:
        return self.oldest.get(value, value)

    def _write(self, first: int, field: Field | None, now: Node, done: Node | None = None) -> None:
        """Set the field of a tensor, its views and its base; `done` is the view that is already set."""
        for value in self.same.get(first, [first]):
            self.walk.keep(value, field)
        for view in self.views.get(first, ()):
            if view is not done and any(self.used.get(v, -1) > now.index for v in view.outputs):
                self.walk.apply(view)
                for value in view.outputs:
                    self._write(self._first(value), self.walk.fields.get(value), now, view)
        maker = self.walk.graph.makers.get(first)
        if maker is not None and maker.aliasing.view and maker is not done:
            base = self._first(maker.inputs[0])
            self._write(base, self.walk.write_through(maker, first, field), now, maker)


def _last_uses(graph: Graph) -> dict[int, int]:
    """The index of the last operation that uses a value, a view of it, or its value after a write."""
    used: dict[int, int] = {}
    for node in reversed(graph.nodes):
        for value in node.inputs:
            used[value] = max(used.get(value, -1), node.index)
        shared = [(node.inputs[0], new) for new in node.outputs] if node.aliasing.view else node.written
        for value, new in shared:
            used[value] = max(used[value], used.get(new, -1))
    return used
