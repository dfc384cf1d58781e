"""The plot of a CKA report: a matrix of layers against layers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..common.style import INK, LARGE, NORMAL, SMALL, legend, path_end, plain, styled

__all__ = ["plot_similarity"]

BORDER = "#D55E00"
LABELS = 40  # layers, above which not every layer is labelled
NUMBERS = 12  # layers, up to which the cells show their numbers


def plot_similarity(
    layers_a: Sequence[str],
    layers_b: Sequence[str],
    values: Sequence[Sequence[float]],
    borders: tuple[int | None, int | None],
    models: tuple[str, str],
) -> Figure:
    """See `CKAReport.plot`.

    Args:
        layers_a: names of the rows.
        layers_b: names of the columns.
        values: one row per layer of a.
        borders: index of the first row and column from the border layer on; None: there is no line.
        models: names of a and b.
    """
    side = 6.4
    height = 1.4 + side * min(1.0, max(0.35, len(layers_a) / len(layers_b)))
    figure = Figure(figsize=(side + 1.6, height), layout="constrained")
    axes = figure.subplots()
    styled(axes, f"layer of {plain(models[1])} (b)", f"layer of {plain(models[0])} (a)")
    axes.grid(visible=False)
    colors = matplotlib.colormaps["viridis"].with_extremes(bad="#d0d0d0")
    image = axes.imshow(values, vmin=0, vmax=1, cmap=colors, origin="lower", aspect="auto", interpolation="nearest")
    _label(axes, layers_a, layers_b)
    if max(len(layers_a), len(layers_b)) <= NUMBERS:
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                shown = "–" if value != value else f"{value:.2f}"
                color = INK if value != value or value > 0.55 else "white"
                axes.text(j, i, shown, ha="center", va="center", fontsize=SMALL, color=color)
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("linear CKA", fontsize=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=INK)
    bar.outline.set_visible(False)
    for index, line in zip(borders, (axes.axhline, axes.axvline), strict=True):
        if index is not None:
            line(index - 0.5, color=BORDER, lw=2.2)
    if borders == (None, None):
        axes.set_title("Similarity of layers", fontsize=LARGE, color=INK, weight="bold", loc="left")
    else:
        border = Line2D([], [], color=BORDER, lw=2.2, label="border layer: unproductive from here on")
        legend(figure, [border], headline="Similarity of layers")
    return figure


def _label(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    for axis, names, most in ((axes.yaxis, rows, 18), (axes.xaxis, columns, 14)):
        step = -(-len(names) // LABELS)
        at = range(0, len(names), step)
        axis.set_ticks(list(at), [plain(path_end(names[k], most)) for k in at])
    if max(map(len, columns)) > 3:
        axes.tick_params(axis="x", rotation=90)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
