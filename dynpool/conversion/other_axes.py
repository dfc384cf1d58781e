"""Layers that slide over other axes than the model's input, such as 2-D convolutions on the frames of a clip."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from dynpool.graph import Graph

from .registry import axes_of, other_axes
from .report import ConversionRow, kind_text

__all__ = ["rows_of_other_axes"]


def rows_of_other_axes(graph: Graph, modules: Mapping[str, nn.Module]) -> dict[int, ConversionRow]:
    """The rows of strided layers over other axes than the input's, by their nodes; they keep their strides.

    A layer that runs several times, as on one frame after the other, has one row.

    Args:
        graph: the trace of a model.
        modules: its modules by path.
    """
    rows: dict[tuple[str, str], tuple[int, ConversionRow]] = {}
    for r in graph.axes.of_other_axes:
        name, kind = r.path or "(model)", kind_text(r)
        why = other_axes(axes_of(modules[r.path]) or r.axes, graph.ndim)
        rows.setdefault((name, kind), (r.node, ConversionRow(name, kind, "-", "left alone", why)))
    return dict(rows.values())
