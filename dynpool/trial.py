"""Does a converted model run when its sizes move? What the trace of the original cannot show shows here.

A model's own code may read a size off a map before it is resized, or insist on the one it was made for.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from .graph import trace_shapes
from .resolution import ResolutionTree
from .sizes import round_to_multiple

__all__ = ["cannot_move"]

_MOVES = (0.8, 1.2)  # height down, width up: what takes one for the other fails too


def cannot_move(model: nn.Module, tree: ResolutionTree, *, training: bool = False) -> dict[int, str]:
    """The learned resolutions, by their place in the tree, at whose other sizes the model does not run, and why.

    One pass on meta tensors if all of them can move; else one more a resolution, as each is added to those that can.

    Args:
        model: converted, at its original sizes; left as it is.
        tree: its resolutions.
        training: run in training mode too.
    """
    learned = [i for i, node in enumerate(tree.nodes) if node.pool is not None and node.parent is not None]
    if _failure(model, tree, learned, training) is None:
        return {}
    moving: list[int] = []
    stuck: dict[int, str] = {}
    for i in learned:
        why = _failure(model, tree, [*moving, i], training)
        if why is None:
            moving.append(i)
        else:
            stuck[i] = why
    return stuck


def _failure(model: nn.Module, tree: ResolutionTree, moving: Iterable[int], training: bool) -> str | None:
    """Why the model does not run when these resolutions, and no other learned ones, move; None if it does."""
    _, height, width = tree.input_size
    moved = set(moving)
    sizes = {
        i: _moved(size, node.multiple) if i in moved else size
        for i, (node, size) in enumerate(zip(tree.nodes, tree.sizes_at((height, width)), strict=True))
        if node.pool is not None
    }
    try:
        with tree.trying(sizes):
            for mode in {False, training}:
                trace_shapes(model, tree.input_size, training=mode)
    except ValueError as error:
        return "the model does not run at other sizes of it: " + str(error).partition(": ")[2].partition("\n")[0]
    return None


def _moved(size: tuple[int, int], multiple: tuple[int, int]) -> tuple[int, int]:
    h, w = (round_to_multiple(max(round(n * by), 2), m) for n, by, m in zip(size, _MOVES, multiple, strict=True))
    return (h, w)
