"""The learned kernels of trained networks beside the maps that they slide over, all to the same scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dynpool.size_math import Size

from ...common.style import INK, NORMAL, SMALL, WIDTH, distinct, plain, short
from ..read_runs import Run
from .curves import method_colors
from .to_scale import FOOT, HEAD, LEFT, least_height, name_row, note_outline, page, seeds_text, wrapped

__all__ = ["plot_kernels"]

GAP, LABEL = 0.16, 1.1  # inches; LABEL: the least width of a column, which "11×11 / 32×32" needs
MOST_ROWS = 4  # drawn per method and grid point


@dataclass
class _Row:
    """A row of the plot: kernels, their maps and their initial sizes by layer, and the runs that ended there."""

    method: str
    point: str
    kernels: Mapping[str, Size]
    maps: Mapping[str, Size]
    initial: Mapping[str, Size]
    seeds: list[int] = field(default_factory=list)
    unfinished: int = 0


def plot_kernels(runs: Sequence[Run]) -> Figure:
    """Each learned kernel as a rectangle on that of its map, to scale, one column per layer and one row per end result.

    Raises:
        ValueError: if no run has learned kernels.
    """
    rows = _rows(runs)
    if not rows:
        raise ValueError("no run has learned kernels to plot")
    colors = method_colors(runs)
    layers = list(dict.fromkeys(layer for row in rows for layer in row.kernels))
    names = dict(zip(layers, distinct(layers), strict=True))
    space = WIDTH - LEFT - 0.15
    per_block = max(1, min(len(layers), int((space + GAP) / (LABEL + GAP))))
    blocks = [layers[start : start + per_block] for start in range(0, len(layers), per_block)]
    width = (space + GAP) / per_block - GAP
    shapes = [size for row in rows for sizes in (row.kernels, row.maps, row.initial) for size in sizes.values()]
    scale = min(1.35 / max(h for h, _ in shapes), width / max(w for _, w in shapes))
    texts = [_text(row) for row in rows]
    tall = max(max(h for h, _ in shapes) * scale + FOOT, *map(least_height, texts))
    figure, axes = page(len(blocks) * (HEAD + tall * len(rows)) + 0.35)
    y = 0.1
    for block in blocks:
        centers = {layer: LEFT + index * (width + GAP) + width / 2 for index, layer in enumerate(block)}
        for layer, x in centers.items():
            name = plain(short(names[layer], int(width / 0.085)))
            axes.text(x, y + 0.2, name, ha="center", va="center", fontsize=SMALL, color="#555555")
        y += HEAD
        for row, text in zip(rows, texts, strict=True):
            middle = y + (tall - FOOT) / 2
            name_row(axes, row.method, text, middle, colors[row.method])
            for layer, x in centers.items():
                if layer in row.kernels:
                    _kernel(axes, (x, middle), row, layer, scale, colors[row.method])
            y += tall
    if any(row.initial.get(layer, size) != size for row in rows for layer, size in row.kernels.items()):
        note_outline(axes, LEFT, y, "the kernel before training")
    return figure


def _rows(runs: Sequence[Run]) -> list[_Row]:
    """The rows of the plot; runs of a group with the same kernels and maps share one."""
    found: dict[tuple[object, ...], _Row] = {}
    for run in runs:
        last = run.last
        if not last.kernels:
            continue
        key = (run.method, run.grid_point, *last.kernels.items(), *last.kernel_maps.items())
        row = found.setdefault(
            key, _Row(run.method, run.grid_point, last.kernels, last.kernel_maps, run.history[0].kernels)
        )
        row.seeds.append(run.seed)
        row.unfinished += not run.finished
    shown: dict[tuple[str, str], int] = {}
    rows = []
    for row in found.values():
        shown[row.method, row.point] = shown.get((row.method, row.point), 0) + 1
        if shown[row.method, row.point] <= MOST_ROWS:
            rows.append(row)
    return rows


def _text(row: _Row) -> str:
    """What stands below a row's method."""
    return wrapped(row.point, seeds_text(row.seeds) + "\nunfinished" * bool(row.unfinished))


def _kernel(axes: Axes, center: tuple[float, float], row: _Row, layer: str, scale: float, color: str) -> None:
    """Draw a map, on it the kernel and the outline of the initial one, and the kernel's size below."""

    def rectangle(size: Size) -> Rectangle:
        height, width = size[0] * scale, size[1] * scale
        return Rectangle((center[0] - width / 2, center[1] - height / 2), width, height)

    kernel, around = row.kernels[layer], row.maps[layer]
    for size, alpha in ((around, 0.15), (kernel, 0.65)):
        shape = rectangle(size)
        shape.set(facecolor=color, edgecolor=color, linewidth=0.8, alpha=alpha)
        axes.add_patch(shape)
    if row.initial.get(layer, kernel) != kernel:
        shape = rectangle(row.initial[layer])
        shape.set(fill=False, edgecolor=INK, linewidth=1.1, linestyle=(0, (3, 2)))
        axes.add_patch(shape)
    below = max(kernel[0], around[0], row.initial.get(layer, kernel)[0]) * scale / 2
    text = f"{kernel[0]}×{kernel[1]} / {around[0]}×{around[1]}"
    axes.text(center[0], center[1] + below + 0.13, text, ha="center", va="center", fontsize=NORMAL - 1.5, color=INK)
