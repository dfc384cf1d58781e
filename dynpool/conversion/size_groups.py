"""The resolutions of a traced model, with the resizers that lead to each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dynpool.graph import Graph, Resize

__all__ = ["Group", "Key", "groups", "source_key", "target_key"]

Key = tuple[int, ...]  # the classes of the axes in the graph, such as height and width, which name a resolution


@dataclass
class Group:
    """All resizers that lead to one resolution."""

    key: Key
    members: list[Resize]

    @property
    def name(self) -> str:
        """What its resolution is called: the module path of the layer that opens it."""
        return self.members[0].path or self.members[0].kind


def groups(graph: Graph) -> Iterator[Group]:
    found: dict[Key, Group] = {}
    for resize in graph.resizes:
        key = target_key(graph, resize)
        if key is not None and not (resize.fixed or resize.given):
            found.setdefault(key, Group(key, [])).members.append(resize)
    yield from found.values()


def source_key(graph: Graph, resize: Resize) -> Key | None:
    return _key(graph, resize.source)


def target_key(graph: Graph, resize: Resize) -> Key | None:
    return _key(graph, resize.target)


def _key(graph: Graph, axes: Sequence[int | None]) -> Key | None:
    known = [graph.classes.find(axis) for axis in axes if axis is not None]
    return tuple(known) if len(known) == len(axes) else None
