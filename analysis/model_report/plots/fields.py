"""Plot of every layer's receptive field against the input resolution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ...common.axis_names import axis_names
from ...common.colors import FILLS, UNDERUTILIZED, UNPRODUCTIVE
from ...common.style import INK, SMALL, WIDTH, legend, path_end, plain, styled
from .marks import headline, marks

if TYPE_CHECKING:
    from ...fields import FieldReport

__all__ = ["plot_fields"]

FIELD = "#0072B2"
MOST_NAMES = 64  # more do not fit below the axis


def plot_fields(report: FieldReport) -> Figure:
    """r_min and r_max of each layer in order of execution, with the input resolution dashed.

    There is one panel per axis, or a single one if all axes agree. Columns of unproductive layers are red, those of
    underutilized ones orange. r_max is that of local paths; a triangle means that another path is global.
    """
    axes_count = len(report.input_size) - 1
    same = len(set(report.input_size[1:])) == 1 and all(
        len(set(row.r_min)) == 1 and len(set(row.r_max_local)) == 1 for row in report.layers
    )
    shown = range(1) if same else range(axes_count)
    figure = Figure(figsize=(WIDTH, 1.9 + 2.9 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    names = axis_names(axes_count)
    for axis, panel in zip(shown, panels, strict=True):
        label = "receptive field" if same else f"receptive field, {names[axis]}"
        _panel(panel, report, axis, f"{label} (pixels)")
    _names(panels[-1], report)
    legend(figure, _handles(report), headline=headline(report))
    return figure


def _panel(axes: Axes, report: FieldReport, axis: int, label: str) -> None:
    styled(axes, "", label)
    axes.set_yscale("log", base=2)
    extent = report.input_size[1 + axis]
    ends = (value for row in report.layers for value in (row.r_min[axis], row.r_max_local[axis]))
    finite = [value for value in ends if math.isfinite(value)]
    top = 1.6 * max([*finite, extent])
    axes.set_ylim(0.75 * min([*finite, extent]), top)
    for index, (row, mark) in enumerate(zip(report.layers, marks(report), strict=True)):
        low, high = row.r_min[axis], row.r_max_local[axis]
        if mark:
            axes.axvspan(index - 0.5, index + 0.5, color=FILLS[mark], alpha=0.3, lw=0)
        if math.isinf(low):
            axes.text(index, top / 1.25, "∞", ha="center", va="center", fontsize=SMALL, color=INK)
            continue
        axes.plot([index, index], [low, high], color=FIELD, lw=1.6, alpha=0.55, solid_capstyle="butt")
        axes.plot(index, low, "o", ms=4.5, color=FIELD)
        if row.r_max[axis] > high:
            axes.plot(index, high * 1.06, "^", ms=6, mew=0, color=FIELD)
        elif high > low:
            axes.plot(index, high, "_", ms=7, mew=1.6, color=FIELD)
    axes.axhline(extent, color=INK, lw=1.4, ls=(0, (5, 3)), zorder=5)
    axes.yaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(-0.7, len(report.layers) - 0.3)
    axes.grid(visible=False, axis="x")


def _names(axes: Axes, report: FieldReport) -> None:
    """Label the axis with every layer's name, or with every n-th if there are too many."""
    every = math.ceil(len(report.layers) / MOST_NAMES)
    ticks = range(0, len(report.layers), every)
    texts = [plain(path_end(report.layers[index].name, 26)) for index in ticks]
    axes.set_xticks(list(ticks), texts, rotation=90, fontsize=SMALL if len(texts) <= 45 else 7.5)


def _handles(report: FieldReport) -> list[Artist]:
    handles: list[Artist] = [Line2D([], [], color=FIELD, ls="", marker="o", ms=4.5, label="r_min")]
    if any(row.r_max != row.r_min for row in report.layers):
        handles.append(Line2D([], [], color=FIELD, lw=1.6, alpha=0.55, label="up to r_max"))
    if any(row.has_global_path for row in report.layers):
        label = "r_max of local paths (another path is global)"
        handles.append(Line2D([], [], color=FIELD, ls="", marker="^", ms=6, mew=0, label=label))
    handles.append(Line2D([], [], color=INK, lw=1.4, ls=(0, (5, 3)), label="input resolution"))
    for mark, found in ((UNDERUTILIZED, report.underutilized), (UNPRODUCTIVE, report.unproductive)):
        if found:
            handles.append(Patch(color=FILLS[mark], alpha=0.3, lw=0, label=mark))
    return handles
