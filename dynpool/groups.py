"""Which resolutions a traced model has, and which resizers open or reach each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from .axes import Resize
from .graph import Graph, trace

__all__ = ["Group", "Key", "groups", "source_key", "structural_trace"]

Key = tuple[int, int]


@dataclass
class Group:
    """All resizers that open or reach one resolution."""

    key: Key
    members: list[Resize]


def structural_trace(model: nn.Module, input_size: tuple[int, int, int]) -> Graph:
    """The trace at `input_size`, or at the next double of it at which no resolution collapses to one pixel."""
    graph = trace(model, input_size)
    first = graph
    size = input_size
    for _ in range(5):
        collapsed = any(
            1 in r.out_size and max(r.in_size) > 1 and not r.fixed and r.in_size != r.kernel for r in graph.resizes
        )
        if not collapsed:
            return graph
        size = (size[0], 2 * size[1], 2 * size[2])
        graph = trace(model, size)
    return first


def groups(graph: Graph) -> Iterator[Group]:
    find = graph.classes.find
    found: dict[Key, Group] = {}
    for resize in graph.resizes:
        if resize.fixed:
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
