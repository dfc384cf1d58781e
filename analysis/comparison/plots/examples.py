"""Pictures of segmentation: predictions beside masks, and receptive fields of maps against the sizes of objects."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ...common.style import FAINT, INK, NORMAL, SMALL, WIDTH, legend, plain, short, styled
from ..examples import Examples
from ..read_runs import Run
from .curves import method_colors

__all__ = ["plot_objects", "plot_predictions"]

BACKGROUND, UNCOUNTED = "#22262d", "#ffffff"
LEFT, GAP = 1.75, 0.07  # inches: names of rows, and between pictures
MOST_ROWS = 10  # of groups
MOST_NAMES = 24  # of classes in a legend


def plot_predictions(runs: Sequence[Run]) -> Figure:
    """Some test images, their masks, and the predictions of the first run of each group, a row each.

    Raises:
        ValueError: if no run has examples.
    """
    first: dict[str, tuple[Run, Examples]] = {}
    for run in runs:
        if run.examples is not None and len(run.examples.images):
            first.setdefault(run.group, (run, run.examples))
    if not first:
        raise ValueError("no run has examples to plot")
    shown = list(first.values())[:MOST_ROWS]
    given = shown[0][1]
    columns = len(given.images)
    side = (WIDTH - LEFT - 0.1 - GAP * (columns - 1)) / columns
    tall = side * given.images.shape[-2] / given.images.shape[-1]
    colors, names = method_colors(runs), _class_colors(len(given.classes))
    listed = [*zip(given.classes[:MOST_NAMES], names, strict=False), ("does not count", UNCOUNTED)]
    widths = [0.42 + 0.075 * len(name) for name, _ in listed]  # inches
    across = len(listed) if sum(widths) < WIDTH - 0.2 else int((WIDTH - 0.2) / max(widths))
    top, foot = 0.1, 0.24 * -(-len(listed) // across) + 0.12
    height = top + (2 + len(shown)) * (tall + GAP) + foot
    figure = Figure(figsize=(WIDTH, height))
    rows: list[tuple[str, str, str, npt.NDArray[np.uint8]]] = [
        ("image", "", INK, np.stack([_picture(image) for image in given.images])),
        ("mask", "", INK, np.stack([_painted(mask, names) for mask in given.masks])),
    ]
    for run, examples in shown:
        said = f"seed {run.seed}" + ("" if run.last.score is None else f", {100 * run.last.score:.1f} %")
        pictures = np.stack([_painted(mask, names) for mask in examples.predicted])
        rows.append((run.method, "\n".join(filter(None, [run.grid_point, said])), colors[run.method], pictures))
    for row, (name, text, color, pictures) in enumerate(rows):
        y = 1 - (top + (row + 1) * tall + row * GAP) / height
        middle = y + tall / height / 2
        lines = text.count("\n") + bool(text)
        figure.text(0.1 / WIDTH, middle + 0.08 * lines / height, plain(short(name, 18)), fontsize=NORMAL, color=color,
                    weight="bold", va="center")  # fmt: skip
        figure.text(0.1 / WIDTH, middle - 0.11 / height, text, fontsize=SMALL - 1, color=INK, va="center",
                    parse_math=False, wrap=True)  # fmt: skip
        for column, picture in enumerate(pictures):
            x = (LEFT + column * (side + GAP)) / WIDTH
            axes = figure.add_axes((x, y, side / WIDTH, tall / height))
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color(FAINT)
            axes.spines[:].set_linewidth(0.6)
    by_rows = [listed[k] for start in range(across) for k in range(start, len(listed), across)]  # it fills columns
    figure.legend(
        handles=[Patch(facecolor=color, edgecolor=FAINT, lw=0.5, label=plain(name)) for name, color in by_rows],
        loc="lower left", ncols=across, frameon=False, fontsize=SMALL - 1, handlelength=1, columnspacing=1.0,
        handletextpad=0.4,
    )  # fmt: skip
    return figure


def plot_objects(runs: Sequence[Run]) -> Figure:
    """Receptive fields of the maps of each size, for each group's first run, with the sizes of objects behind them.

    Raises:
        ValueError: if no run has examples.
    """
    first: dict[str, Examples] = {}
    methods: dict[str, str] = {}
    for run in runs:
        if run.examples is not None and len(run.examples.fields):
            first.setdefault(run.group, run.examples)
            methods.setdefault(run.group, run.method)
    if not first:
        raise ValueError("no run has examples to plot")
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = styled(
        figure.add_subplot(), "height of the map in pixels", "height of the receptive field\nin pixels of the image"
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    handles: list[Line2D | Patch] = []
    colors = method_colors(runs)
    for index, (group, examples) in enumerate(first.items()):
        shift = 2 ** (0.09 * (index - (len(first) - 1) / 2))  # so that groups stand beside each other
        heights = examples.fields[:, [0, 2, 4]]
        for size, low, high in heights[np.isfinite(heights).all(1)]:
            axes.plot([size * shift] * 2, [low, high], color=colors[methods[group]], lw=3.2, solid_capstyle="butt")
            axes.plot(size * shift, high, marker="_", ms=8, mew=2, color=colors[methods[group]])
        handles.append(Line2D([], [], color=colors[methods[group]], lw=3.2, label=plain(short(group, 40))))
    handles += _objects(axes, next(iter(first.values())))
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        ticks = [2.0**k for k in range(int(np.ceil(np.log2(low))), int(np.floor(np.log2(high))) + 1)]
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend(figure, handles)
    return figure


def _objects(axes: Axes, examples: Examples) -> list[Line2D | Patch]:
    """Draw the band of the sizes of objects and their median; the handles of both."""
    if not len(examples.objects):
        return []
    low, median, high = np.quantile(examples.objects.max(1), [0.1, 0.5, 0.9])
    axes.axhspan(low, high, color=FAINT, alpha=0.22, zorder=0)
    axes.axhline(median, color=FAINT, lw=1.4, zorder=1)
    side = examples.images.shape[-2]
    axes.axhline(side, color=INK, lw=1.1, ls=(0, (3, 2)), zorder=1)
    return [
        Patch(color=FAINT, alpha=0.35, label=f"objects, 10 to 90 %: {low:.0f} to {high:.0f}"),
        Line2D([], [], color=FAINT, lw=1.4, label=f"their median: {median:.0f}"),
        Line2D([], [], color=INK, lw=1.1, ls=(0, (3, 2)), label=f"image: {side}"),
    ]


def _class_colors(count: int) -> list[str]:
    """A colour for each class: dark for the first, the background, then the 20 of matplotlib's tab20 in turn."""
    colors = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    return [BACKGROUND, *(matplotlib.colors.to_hex(colors[order[k % 20]]) for k in range(count - 1))]


def _painted(mask: npt.NDArray[np.uint8], colors: Sequence[str]) -> npt.NDArray[np.uint8]:
    """The mask (H, W) in colours, (H, W, 3); pixels that do not count are white."""
    table = np.full((256, 3), 255, dtype=np.uint8)
    table[: len(colors)] = [[round(255 * part) for part in to_rgb(color)] for color in colors]
    return table[mask]


def _picture(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image (C, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(np.moveaxis(image, 0, -1), (*image.shape[1:], 3)))
