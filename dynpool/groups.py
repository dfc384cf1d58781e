"""Which resolutions a traced model has, and which resizers open or reach each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from .axes import Resize
from .graph import Graph, trace, trace_compared

__all__ = ["Group", "Key", "groups", "source_key", "structural_trace", "target_key"]

Key = tuple[int, int]


@dataclass
class Group:
    """All resizers that open or reach one resolution."""

    key: Key
    members: list[Resize]


def structural_trace(model: nn.Module, input_size: tuple[int, int, int]) -> Graph:
    """The trace that tells sizes from numbers, at `input_size` or at its next double where no map is a single pixel.

    A model that runs at one size alone is traced at that size; it is pinned wherever sizes meet numbers.
    """
    size = input_size
    graph = first = None
    for _ in range(5):
        graph = trace_compared(model, size)
        first = first or graph
        if not graph.collapsed:
            return graph
        size = (size[0], 2 * size[1], 2 * size[2])
    return graph if graph is not None and not graph.collapsed else first or trace(model, input_size)


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
