"""Warnings where a converted model does not start at the sizes of the original."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from dynpool.graph import Graph
from dynpool.resolution import ResolutionTree
from dynpool.size_math import Size

__all__ = ["warn_of_changes", "warn_of_multiples"]


def warn_of_changes(
    before: Graph, after: Graph, tree: ResolutionTree, original: Sequence[Size], name: str, *, preserve: bool
) -> None:
    """Warn if maps of the converted model do not start at the sizes they have in the original."""
    moved = [
        f"{node.name} at {_by(now)} instead of {_by(was)} pixels"
        for node, now, was in zip(tree.nodes, tree.sizes_at(tree.input_size[1:]), original, strict=True)
        if now != was
    ]
    if moved:
        if preserve:
            warnings.warn(
                "preserve=True cannot keep the function at this input_size, as learned sizes have at least 2 pixels"
                f" and are multiples of windows and of multiple_of: {', '.join(moved)}",
                stacklevel=4,
            )
        return
    changed = [
        f"{at[0] or 'the model'} returns {after.returns[at][1]} instead of {shapes}"
        for at, (_, shapes) in before.returns.items()
        if at in after.returns and after.returns[at][1] != shapes
    ]
    if changed:
        warnings.warn(
            f"{len(changed)} maps of the converted {name} differ in size from those of the original"
            f"{', so that preserve=True cannot keep its function' * preserve}: {'; '.join(changed[:3])}",
            stacklevel=4,
        )


def warn_of_multiples(asked: Size, tree: ResolutionTree, original: Sequence[Size]) -> None:
    """Warn if `multiple_of` makes maps start at twice their sizes or more."""
    grown = [
        f"{node.name} starts at {_by(now)} instead of {_by(was)} pixels"
        for node, now, was in zip(tree.nodes, tree.sizes_at(tree.input_size[1:]), original, strict=True)
        if any(n == m >= 2 * w for n, m, w in zip(now, asked, was, strict=True))
    ]
    if grown:
        warnings.warn(f"multiple_of={asked} is larger than maps of the model: {'; '.join(grown)}", stacklevel=4)


def _by(size: Size) -> str:
    return "x".join(map(str, size))
