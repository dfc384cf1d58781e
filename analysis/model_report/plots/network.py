"""Plot of the graph of layers without Graphviz, in lines that are read from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, Patch
from matplotlib.textpath import TextPath

from ...common.colors import FILLS, TEXTS, UNDERUTILIZED, UNPRODUCTIVE
from ...common.style import INK, LARGE, NORMAL, WIDTH, path_end, plain
from .layer_graph import INPUT, LayerGraph, layer_graph
from .layer_layout import Cell, Layout, lay_out
from .marks import field_text, headline, marks, window_text

if TYPE_CHECKING:
    from ...fields import FieldReport, LayerRow

__all__ = ["plot_network"]

# inches
MARGIN, HEAD = 0.15, 0.72
BOX_HEIGHT, LANE, LINE_GAP, GAP = 0.46, 0.56, 0.14, 0.2
POINT = 0.09
ARROW = "#6b6b6b"
TINY = 6.8  # points; a point is 1.4 pixels high at the 900 pixels that a figure is shown at
MEASURED = 40  # texts whose width is measured, those of most letters
LONGEST_NAME = 24


def plot_network(report: FieldReport) -> Figure:
    """The graph of the layers, each a box with its kernel, stride and receptive field.

    Unproductive layers are red, underutilized ones orange (Richter and Pal, Figure 6). Dots are junctions of paths.
    """
    graph = layer_graph(report)
    layout = lay_out(graph)
    page = _page(report, graph, layout)
    figure = Figure(figsize=(WIDTH, page.height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(page.height, 0)
    for cells in layout.edges:
        _arrow(axes, page, cells)
    mark_of = marks(report)
    for node, cell in enumerate(layout.nodes):
        index = graph.layers.get(node)
        if index is None:
            _junction(axes, page.point(cell))
        elif index == INPUT:
            _input(axes, page, report, cell)
        else:
            _layer(axes, page, report.layers[index], mark_of[index], cell)
    found = [mark for mark in (UNDERUTILIZED, UNPRODUCTIVE) if mark in mark_of]
    axes.text(MARGIN, 0.2, headline(report), fontsize=LARGE, color=INK, va="center", weight="bold")
    if found:
        handles = [Patch(fc=FILLS[mark], ec=ARROW, lw=0.6, label=mark) for mark in found]
        figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0, 1 - 0.3 / page.height), ncols=2,
            frameon=False, fontsize=NORMAL,
        )  # fmt: skip
    return figure


@dataclass(frozen=True)
class _Page:
    """The page in inches: the middle and half width of each column, the line it is in, and the top of each line."""

    columns: dict[int, tuple[float, float]]
    line_of: dict[int, int]
    tops: list[float]
    height: float
    junctions: frozenset[Cell]  # drawn as dots, narrower than a column of boxes

    def point(self, cell: Cell) -> tuple[float, float]:
        column, lane = cell
        return self.columns[column][0], self.tops[self.line_of[column]] + LANE * lane + BOX_HEIGHT / 2

    def half_width(self, cell: Cell) -> float:
        return POINT if cell in self.junctions else self.columns[cell[0]][1]


def _width(text: str) -> float:
    """The width of a text in bold letters, in inches."""
    path = TextPath((0, 0), plain(text), size=TINY, prop=FontProperties(weight="bold"))
    return float(path.get_extents().width) / 72


def _page(report: FieldReport, graph: LayerGraph, layout: Layout) -> _Page:
    texts = {text for row in report.layers for text in (path_end(row.name, LONGEST_NAME), field_text(row))}
    longest = sorted(texts, key=len)[-MEASURED:]
    box = 0.1 + max([_width(text) for text in longest], default=0.5)
    boxes = {layout.nodes[node][0] for node in graph.layers}
    columns: dict[int, tuple[float, float]] = {}
    line_of: dict[int, int] = {}
    lanes: list[int] = [0]
    highest: dict[int, int] = {}
    for column, lane in (cell for cells in (*layout.edges, layout.nodes) for cell in cells):
        highest[column] = max(highest.get(column, 0), lane)
    x = MARGIN
    for column in sorted(highest):
        width = box if column in boxes else 2 * POINT
        if x + width > WIDTH - MARGIN and x > MARGIN:
            x = MARGIN
            lanes.append(0)
        columns[column] = (x + width / 2, width / 2)
        line_of[column] = len(lanes) - 1
        lanes[-1] = max(lanes[-1], highest[column])
        x += width + GAP
    tops, y = [], HEAD
    for count in lanes:
        tops.append(y)
        y += LANE * count + BOX_HEIGHT + LINE_GAP
    junctions = frozenset(cell for node, cell in enumerate(layout.nodes) if node not in graph.layers)
    return _Page(columns, line_of, tops, y + 0.05, junctions)


def _arrow(axes: Axes, page: _Page, cells: tuple[Cell, ...]) -> None:
    """Draw an edge through the cells. Between lines of the page it runs out to the right and back in from the left."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for index, cell in enumerate(cells):
        (x, y), half = page.point(cell), page.half_width(cell)
        if index and page.line_of[cell[0]] != page.line_of[cells[index - 1][0]]:
            pieces[-1].append((WIDTH, pieces[-1][-1][1]))
            pieces.append([(0.0, y)])
        if index:
            pieces[-1].append((x - half, y))
        if index < len(cells) - 1:
            pieces[-1].append((x + half, y))
    for piece in pieces[:-1]:
        axes.plot(*zip(*piece, strict=True), color=ARROW, lw=0.9, solid_joinstyle="round", zorder=1)
    *before, last = pieces[-1]
    if len(before) > 1:
        axes.plot(*zip(*before, strict=True), color=ARROW, lw=0.9, solid_joinstyle="round", zorder=1)
    style = {"arrowstyle": "-|>", "mutation_scale": 7, "color": ARROW, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=last, xytext=before[-1], arrowprops=style, zorder=1)


def _junction(axes: Axes, middle: tuple[float, float]) -> None:
    """Draw the dot of a junction, a sum or a concatenation."""
    axes.add_patch(Circle(middle, POINT, fc=ARROW, ec="white", lw=0.8, zorder=3))


def _input(axes: Axes, page: _Page, report: FieldReport, cell: Cell) -> None:
    (x, y), half = page.point(cell), page.columns[cell[0]][1]
    size = "×".join(map(str, report.input_size))
    axes.text(x + half - 0.04, y, f"input\n{size}", ha="right", va="center", fontsize=TINY + 0.7, color=INK)


def _layer(axes: Axes, page: _Page, row: LayerRow, mark: str, cell: Cell) -> None:
    (x, y), half = page.point(cell), page.columns[cell[0]][1]
    corner = (x - half, y - BOX_HEIGHT / 2)
    style = "round,pad=0,rounding_size=0.05"
    axes.add_patch(FancyBboxPatch(corner, 2 * half, BOX_HEIGHT, style, fc=FILLS[mark], ec=ARROW, lw=0.6, zorder=2))
    for line, text in enumerate((path_end(row.name, LONGEST_NAME), window_text(row), field_text(row))):
        axes.text(
            x, y + (line - 1) * BOX_HEIGHT / 3.3, plain(text), ha="center", va="center", fontsize=TINY,
            color=TEXTS[mark], weight="bold" if line == 0 else "normal", zorder=4,
        )  # fmt: skip
