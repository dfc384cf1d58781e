"""The plot of a sensitivity report: one panel per resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

from ..common.style import FAINT, INK, SMALL, WIDTH, distinct, legend, plain, short, styled
from .row import SensitivityRow

__all__ = ["plot_sensitivity"]

_SINGLE = ("both", "all", "length")  # the only one of its map
COLORS = {"height": "#0072B2", "width": "#D55E00", "depth": "#CC79A7", **dict.fromkeys(_SINGLE, "#009E73")}
LABELS = {name: name for name in ("depth", "height", "width", "length")} | {
    "both": "height and width", "all": "all axes",
}  # fmt: skip
MARKERS = {"height": "o", "width": "s", "depth": "^", **dict.fromkeys(_SINGLE, "D")}
# their places above the panel, in its heights
ARROWS = {"height": 1.115, "width": 1.035, "depth": 1.195, **dict.fromkeys(_SINGLE, 1.035)}
# pixels, so that no error bar hides another
ASIDE = {"height": -0.06, "width": 0.06, "depth": 0.0, **dict.fromkeys(_SINGLE, 0.0)}
LOGARITHMIC = "#f0f0f0"
DWARFED = 10.0  # times the differences of the smallest steps
LONGEST = 2.0  # signal to noise of an arrow of half the width of a panel


def plot_sensitivity(rows: Sequence[SensitivityRow], steps: Sequence[int], batches: int) -> Figure:
    """See `SensitivityReport.plot`.

    Args:
        rows: one per resolution and axis, at least one.
        steps: pixels more that were asked for, in rising order.
        batches: number of batches that figures are means over.
    """
    names = list(dict.fromkeys(row.name for row in rows))
    columns = min(len(names), 3 if len(names) in (5, 6, 9) else 4)
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.7 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for index, panel in enumerate(panels.flat):
        if index >= len(names):
            panel.set_visible(False)
            continue
        mine = [row for row in rows if row.name == names[index]]
        below = index + columns >= len(names)
        title = f"{short(distinct(names)[index], 66 // columns)}  {'×'.join(map(str, mine[0].size))}"
        styled(panel, "pixels more" if below else "", "loss difference" if index % columns == 0 else "")
        panel.set_title(plain(title), fontsize=SMALL, color=INK, pad=26)
        panel.tick_params(labelbottom=below)
        _draw(panel, mine, steps)
    axes = [axis for axis in COLORS if any(row.axis == axis for row in rows)]
    handles: list[Artist] = [
        Line2D([], [], color=COLORS[axis], marker=MARKERS[axis], ms=5, lw=1.8, label=LABELS[axis]) for axis in axes
    ]
    arrow = "where gradient descent moves it, signal to noise"
    handles.append(Line2D([], [], color=INK, lw=1.8, marker=">", ms=6, markevery=[1], label=arrow))
    if any(panel.get_yscale() == "symlog" for panel in panels.flat):
        handles.append(Patch(color=LOGARITHMIC, label="logarithmic"))
    over = "one batch" if batches == 1 else f"{batches} batches, mean ± standard error"
    legend(figure, handles, headline=f"Loss with a few pixels more or less, minus the loss as it is ({over})")
    return figure


def _draw(panel: Axes, rows: Sequence[SensitivityRow], steps: Sequence[int]) -> None:
    panel.axhline(0, color=FAINT, lw=1)
    panel.axvline(0, color=FAINT, lw=1)
    for row in rows:
        color = COLORS[row.axis]
        found = {step: d for step, d in row.differences.items() if math.isfinite(d.mean)}
        points = {
            step: (found[step].mean, found[step].error or 0.0) if step else (0.0, 0.0) for step in sorted([*found, 0])
        }
        y, errors = zip(*points.values(), strict=True)
        panel.errorbar(
            [step + ASIDE[row.axis] for step in points],
            y,
            yerr=errors,
            color=color,
            marker=MARKERS[row.axis],
            ms=4,
            lw=1.6,
            elinewidth=1.2,
            capsize=2.5,
        )
        _draw_arrow(panel, row, color)
    missing = [f"{row.axis} fixed" for row in rows if not row.differences]
    infinite = [
        f"{row.axis} not finite" for row in rows if not all(math.isfinite(d.mean) for d in row.differences.values())
    ]
    if missing or infinite:
        panel.text(
            0.5, 0.97, "\n".join(missing + infinite), transform=panel.transAxes, ha="center", va="top", fontsize=SMALL,
            color=INK,
        )  # fmt: skip
    panel.set_xlim(min(steps) - 0.5, max(steps) + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _scale(panel, rows)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}".replace("-", "−")))


def _scale(panel: Axes, rows: Sequence[SensitivityRow]) -> None:
    """Set the scale of the differences. Where some dwarf those of the smallest steps, it is logarithmic on grey."""
    found = [(abs(step), d) for row in rows for step, d in row.differences.items() if math.isfinite(d.mean)]
    smallest = min((step for step, _ in found), default=0)
    near = max((abs(d.mean) for step, d in found if step == smallest), default=0.0)
    if near == 0 or max(abs(d.mean) for _, d in found) < DWARFED * near:
        panel.yaxis.set_major_locator(MaxNLocator(4))
        return
    limit = 10.0 ** math.ceil(math.log10(near))
    panel.set_yscale("symlog", linthresh=limit, linscale=1.5)
    panel.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=limit))
    scale = panel.yaxis.get_transform()
    ends = [0.0, *(d.mean + sign * (d.error or 0.0) for _, d in found for sign in (-1, 1))]
    low, high = scale.transform([min(ends), max(ends)])
    margin = 0.06 * (high - low)
    low, high = scale.inverted().transform([low - margin, high + margin])
    panel.set_ylim(low, high)
    for start, end in ((limit, high), (low, -limit)):
        if start < end:
            panel.axhspan(start, end, color=LOGARITHMIC, zorder=0)


def _draw_arrow(panel: Axes, row: SensitivityRow, color: str) -> None:
    """An arrow above the panel, from its middle to the side to which gradient descent moves the size."""
    if row.gradient is None or not row.gradient.mean or not math.isfinite(row.gradient.mean):
        return
    y, side = ARROWS[row.axis], -math.copysign(1.0, row.gradient.mean)
    share = 1.0 if row.snr is None else max(0.15, min(row.snr / LONGEST, 1.0))
    panel.annotate(
        "", xy=(0.5 + 0.5 * side * share, y), xytext=(0.5, y), xycoords="axes fraction", textcoords="axes fraction",
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}, annotation_clip=False,
    )  # fmt: skip
    panel.annotate(
        "" if row.snr is None else f"{row.snr:.2g}", xy=(0.5 - 0.03 * side, y), xycoords="axes fraction",
        fontsize=SMALL, color=color, ha="right" if side > 0 else "left", va="center", annotation_clip=False,
    )  # fmt: skip
