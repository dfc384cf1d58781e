"""Which resolutions a traced model has, and which resizers open or reach each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from dynpool.graph.axes import Resize
from dynpool.graph.ir import Graph
from dynpool.graph.tracer import trace_compared

__all__ = ["Group", "Key", "groups", "source_key", "structural_trace", "target_key"]

Key = tuple[int, int]


@dataclass
class Group:
    """All resizers that open or reach one resolution."""

    key: Key
    members: list[Resize]


def structural_trace(model: nn.Module, input_size: tuple[int, int, int], batch: int | None = None) -> Graph:
    """The trace that tells sizes from numbers, at `input_size` or at a double of it that shows more.

    It does where no map is a single pixel any more, or where both passes run the same operations.
    A model that runs at one size alone is traced at that size; it is pinned wherever sizes meet numbers.
    """
    best = graph = trace_compared(model, input_size, batch=batch)
    size = input_size
    for _ in range(5):
        if not graph.collapsed and (graph is not best or not graph.unmatched):
            return best
        size = (size[0], 2 * size[1], 2 * size[2])
        try:
            graph = trace_compared(model, size, batch=batch)
        except ValueError:  # it cannot run at that size
            return best
        if (graph.collapsed, graph.unmatched) < (best.collapsed, best.unmatched):
            best = graph
    return best


def groups(graph: Graph) -> Iterator[Group]:
    find = graph.classes.find
    found: dict[Key, Group] = {}
    for resize in graph.resizes:
        if resize.fixed or resize.given:
            continue
        h, w = resize.target
        if h is None or w is None:
            continue
        key = (find(h), find(w))
        found.setdefault(key, Group(key, [])).members.append(resize)
    yield from found.values()


def source_key(graph: Graph, resize: Resize) -> Key | None:
    h, w = resize.source
    return None if h is None or w is None else (graph.classes.find(h), graph.classes.find(w))


def target_key(graph: Graph, resize: Resize) -> Key | None:
    h, w = resize.target
    return None if h is None or w is None else (graph.classes.find(h), graph.classes.find(w))
