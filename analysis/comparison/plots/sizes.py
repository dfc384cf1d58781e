"""The feature maps of trained networks as rectangles, all to the same scale.

A map of a sequence is a bar, as long as it is; a map of a volume has a strip beside it, as tall as it is deep, with a
cell for each of its frames or slices where they fit.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dynpool.size_math import Size

from ...common.style import INK, NORMAL, SMALL, WIDTH, distinct, plain
from ..read_runs import Run
from .curves import method_colors
from .to_scale import FOOT, HEAD, LEFT, least_height, name_row, note_outline, page, seeds_text, wrapped

__all__ = ["plot_sizes"]

STRIP, BESIDE = 0.13, 0.06  # inches: width of a strip or a bar, space between a strip and its map
LEAST_CELL = 0.035  # inches, of the cells of a strip that are told apart
MOST_ROWS = 4  # size sequences drawn per method; only one per grid point if the method has several


def plot_sizes(runs: Sequence[Run]) -> Figure:
    """The feature maps of each network as rectangles to scale, from the input onwards.

    Runs that ended at the same sizes share a row. The sizes of the human design at the same input are outlined where a
    network has as many maps.
    """
    rows = _size_rows(runs)
    colors = method_colors(runs)
    designed: dict[tuple[Size, int], list[Size]] = {}  # by the input's size and number of maps
    for run in runs:
        if run.method == "human":
            sizes = list(run.last.sizes.values())
            designed.setdefault((sizes[0], len(sizes)), sizes)
    networks = [sizes for _, sizes, _ in rows]
    longest = max(map(len, networks))
    # In inches: the text to the left, the minimum width of a column (its label must fit), the space between columns.
    letters = [len("unfinished"), *(len(method) for _, _, method in rows)]
    letters += [round(0.75 * len(line)) for text, _, _ in rows for line in text.split("\n")]  # in smaller type
    left = min(LEFT, 0.35 + 0.115 * max(letters))
    label = 0.1 * max(len("×".join(map(str, size))) for sizes in networks for size in sizes)
    gap, space = 0.16, WIDTH - left - 0.15
    names, label = _column_names(runs, longest, label, (space + gap) / longest - gap)
    per_block = max(1, min(longest, int((space + gap) / (label + gap))))
    blocks = [range(start, min(start + per_block, longest)) for start in range(0, longest, per_block)]

    def widest(column: int, scale: float) -> float:
        return max(_width(sizes[column], scale) for sizes in networks if column < len(sizes))

    def needed(scale: float) -> float:
        return max(sum(max(widest(column, scale), label) + gap for column in block) - gap for block in blocks)

    scale = 1.35 / max(max(size[:-1], default=size[0]) for sizes in networks for size in sizes)
    while needed(scale) > space and max(widest(column, scale) for column in range(longest)) > label:
        scale *= 0.97
    gap += max(0.0, min(0.5, (space - needed(scale)) / max(1, per_block - 1)))
    tallest = {
        (row, block.start): max(
            (
                _height(size, scale)
                for network in (sizes, designed.get((sizes[0], len(sizes)), []))
                for size in network[block.start : block.stop]
            ),
            default=0.0,
        )
        for row, (_, sizes, _) in enumerate(rows)
        for block in blocks
    }
    heights = {key: max(max(value, 0.5) + FOOT, least_height(rows[key[0]][0])) for key, value in tallest.items()}
    figure, axes = page(sum(heights.values()) + HEAD * len(blocks) + 0.35)
    y = 0.1
    for block in blocks:
        centers, x = {}, left
        for column in block:
            width = max(widest(column, scale), label)
            centers[column] = x + width / 2
            x += width + gap
            name = plain(names[column])
            axes.text(centers[column], y + 0.2, name, ha="center", va="center", fontsize=SMALL, color="#555555")
        y += HEAD
        for row, (text, sizes, method) in enumerate(rows):
            middle = y + (heights[row, block.start] - FOOT) / 2
            if block.start < len(sizes):
                name_row(axes, method, text, middle, colors[method])
            human = designed.get((sizes[0], len(sizes)), [])
            for column in block:
                if column < len(sizes):
                    # The input has the same size for all: no outline.
                    outline = human[column] if method != "human" and 0 < column < len(human) else None
                    _feature_map(axes, centers[column], middle, sizes[column], scale, colors[method], outline)
            y += heights[row, block.start]
    if any(method != "human" and (sizes[0], len(sizes)) in designed for _, sizes, method in rows):
        note_outline(axes, left, y, "the human-designed size")
    return figure


def _feature_map(
    axes: Axes,
    center: float,
    middle: float,
    size: Size,
    scale: float,
    color: str,
    outline: Size | None,
) -> None:
    """Draw one map to scale with its size below, and the outline of the human-designed size over it."""
    around = size if outline is None else outline
    left = center - max(_width(size, scale), _width(around, scale)) / 2  # of the strip, where there is one
    extents = (*size[:-2], max(size[-2:]))  # of a strip its depth, of a bar its length
    shapes = zip(_rectangles(size, scale), _rectangles(around, scale), extents, strict=True)
    for (height, width, x), (tall, wide, _), extent in shapes:
        at = left + x + max(width, wide) / 2
        # A map of a few pixels is a mere dot: draw it opaque and without an outline, which would hide it.
        dot = extent * scale < 0.12
        shape = Rectangle((at - width / 2, middle - height / 2), width, height)
        shape.set(facecolor=color, edgecolor=color, linewidth=0.8, alpha=1.0 if dot else 0.55)
        axes.add_patch(shape)
        if outline is not None and not dot:
            shape = Rectangle((at - wide / 2, middle - tall / 2), wide, tall)
            shape.set(fill=False, edgecolor=INK, linewidth=1.1, linestyle=(0, (3, 2)))
            axes.add_patch(shape)
    if len(size) == 3 and scale > LEAST_CELL:
        top = middle - size[0] * scale / 2
        axes.hlines([top + scale * k for k in range(1, size[0])], left, left + STRIP, colors="white", linewidth=1.0)
    below = max(_height(size, scale), _height(around, scale))
    text = "×".join(map(str, size))
    axes.text(center, middle + below / 2 + 0.13, text, ha="center", va="center", fontsize=NORMAL, color=INK)


def _rectangles(size: Size, scale: float) -> list[tuple[float, float, float]]:
    """(height, width, left side) in inches of the shapes of a map: a bar, a rectangle, or a strip and a rectangle."""
    if len(size) == 1:
        return [(STRIP, size[0] * scale, 0.0)]
    *depth, height, width = (side * scale for side in size)
    return [*((deep, STRIP, 0.0) for deep in depth), (height, width, (STRIP + BESIDE) * len(depth))]


def _height(size: Size, scale: float) -> float:
    return max(height for height, _, _ in _rectangles(size, scale))


def _width(size: Size, scale: float) -> float:
    return max(left + width for _, width, left in _rectangles(size, scale))


def _size_rows(runs: Sequence[Run]) -> list[tuple[str, list[Size], str]]:
    """(text, sizes, method) of each row of the plot; runs of a group with the same sizes share a row."""
    groups: dict[tuple[str, str], dict[tuple[Size, ...], list[Run]]] = {}
    for run in runs:
        alike = groups.setdefault((run.method, run.grid_point), {})
        alike.setdefault(tuple(run.last.sizes.values()), []).append(run)
    rows: list[tuple[str, list[Size], str]] = []
    for (method, point), found in groups.items():
        mine = list(found.items())
        most = 1 if any(name == method and other != point for name, other in groups) else MOST_ROWS
        for index, (sizes, same) in enumerate(mine[:most]):
            text = seeds_text(run.seed for run in same)
            unfinished = sum(not run.finished for run in same)
            if unfinished:
                text += "\nunfinished" if unfinished == len(same) else f"\n{unfinished} unfinished"
            if index == most - 1 and len(mine) > most:
                text += f"\n({len(mine) - most} more not drawn)"
            rows.append((wrapped(point, text), list(sizes), method))
    return rows


def _column_names(runs: Sequence[Run], count: int, least: float, most: float) -> tuple[list[str], float]:
    """(heads of the columns, width of a column in inches). Heads are numbers if names do not fit or runs differ."""
    names = {tuple(run.last.sizes) for run in runs}
    if len(names) == 1:
        heads = distinct(list(names.pop()))
        width = max(least, 0.085 * max(map(len, heads)))
        if width <= most:
            return heads, width
    return ["input", *(str(index) for index in range(1, count))], least
