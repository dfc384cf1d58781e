"""Resolutions that cannot change according to the graph alone, determined before planning."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from dynpool.graph import Graph, Resize

from .registry import Plan
from .size_groups import Group, Key, groups

__all__ = ["pinned_by_graph", "with_ratios_kept"]

Plans = Mapping[int, Plan | str]  # by the resize's node in the graph: how it could be rewritten, or why it cannot be

_MUST_AGREE = {2: "its height and width must agree", 3: "two of its depth, height and width must agree"}
_SHARES = {
    1: "it has the length of another resolution",
    2: "it shares its height or width with another resolution",
    3: "it shares its depth, height or width with another resolution",
}


def pinned_by_graph(graph: Graph, known: Mapping[Key, str]) -> dict[Key, str]:
    """The resolutions that cannot change, and why: those given in `known`, and those found in the graph."""
    pinned = dict(known)
    seen: dict[int, Key] = {}
    for group in groups(graph):
        why = next(filter(None, map(graph.classes.pinned, group.key)), None)
        if len(set(group.key)) < len(group.key):
            why = why or _MUST_AGREE[len(group.key)]
        for axis in group.key:
            other = seen.setdefault(axis, group.key)
            if other != group.key:
                why = why or _SHARES[len(group.key)]
                pinned.setdefault(other, why)
        if why:
            pinned[group.key] = why
    return pinned


def with_ratios_kept(graph: Graph, plans: Plans, pinned: dict[Key, str]) -> Plans:
    """The plans, but layers that keep a required ratio stay as they are; where none does, `pinned` gets both ends."""
    for a, b, ratio in graph.classes.ratios():
        above, below, part = (a, b, ratio) if ratio < 1 else (b, a, 1 / ratio)
        keeping = [r for r in _leading_to(graph, below) if _keeps(graph, r, above, below, part)]
        why = "the model needs its output to be a fixed part of its input"
        plans = {**plans, **{r.node: why for r in keeping}}
        if not keeping:
            for group in groups(graph):
                if {above, below} & {*group.key}:
                    pinned.setdefault(group.key, "two resolutions must keep their ratio")
    return plans


def _leading_to(graph: Graph, axis: int) -> list[Resize]:
    found: list[Group] = [group for group in groups(graph) if axis in group.key]
    return [r for group in found for r in group.members]


def _keeps(graph: Graph, resize: Resize, above: int, below: int, ratio: Fraction) -> bool:
    """Whether the unchanged layer leads from one axis to the other with this ratio."""
    classes = graph.classes
    ends = zip(resize.source, resize.target, resize.stride, strict=True)
    return any(
        s is not None and t is not None and classes.find(t) == below and classes.base(s) == (above, n * ratio)
        for s, t, n in ends
    )
