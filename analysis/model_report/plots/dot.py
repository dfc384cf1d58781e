"""The network as a graph in Graphviz' DOT language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...common.colors import FILLS, TEXTS
from .layer_graph import INPUT, layer_graph
from .marks import field_text, marks, window_text

if TYPE_CHECKING:
    from ...fields import FieldReport

__all__ = ["to_dot"]


def to_dot(report: FieldReport) -> str:
    """The graph of the layers as DOT text, unproductive ones red and underutilized ones orange.

    After Richter and Pal, Figure 6. Graphviz renders it: `dot -Tsvg network.dot -o network.svg`.
    """
    graph = layer_graph(report)
    mark_of = marks(report)
    lines = [
        "digraph network {",
        "  rankdir=TB; nodesep=0.25; ranksep=0.3;",
        '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=10, color="#555555"];',
        '  edge [color="#555555", arrowsize=0.6];',
    ]
    for node, sources in enumerate(graph.sources):
        index = graph.layers.get(node)
        if index is None:
            lines.append(f'  n{node} [label="", shape=circle, width=0.1, fillcolor="#555555"];')
        elif index == INPUT:
            size = "x".join(map(str, report.input_size))
            lines.append(f'  n{node} [label="input\\n{size}", shape=plain, style=""];')
        else:
            row = report.layers[index]
            mark = mark_of[index]
            label = "\\n".join(_escaped(part) for part in (row.name, window_text(row), field_text(row)))
            colors = f'fillcolor="{FILLS[mark]}", fontcolor="{TEXTS[mark]}"'
            tip = f', tooltip="{mark}"' if mark else ""
            lines.append(f'  n{node} [label="{label}", {colors}{tip}];')
        lines.extend(f"  n{source} -> n{node};" for source in sources)
    return "\n".join([*lines, "}"]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
