"""Plots of inspection reports: probe accuracy, saturation and receptive fields, layer by layer; and heat maps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..common.axis_names import axis_names
from ..common.colors import FILLS, UNPRODUCTIVE
from ..common.statistics import MeanStd
from ..common.style import INK, NORMAL, SMALL, WIDTH, legend, path_end, plain, short, styled
from .findings import Findings
from .heatmaps import HeatMap
from .row import InspectionRow

__all__ = ["plot_heatmaps", "plot_layers", "plot_side_by_side"]

PROBE, SATURATION = "#0072B2", "#009E73"
FIELDS = ("#7F3C8D", "#D55E00")  # of the two axes
MARKERS = ("o", "s")
SPREAD = 0.3  # layers, over which the lines of several networks are put side by side
ASIDE = 0.13  # layers, so that no axis hides the other
LONGEST = 92  # letters of a line of the headline
ACROSS = 0.19  # inches that a name below the axis takes
DASHED, DOTTED = (0, (5, 3)), (0, (1, 1.6))


def plot_layers(report: Findings) -> Figure:
    """See `InspectionReport.plot`."""
    return plot_side_by_side({"": report})


def plot_side_by_side(reports: Mapping[str, Findings | Sequence[Findings]], *, headline: bool = True) -> Figure:
    """Probe accuracy, saturation and receptive fields of the layers of one network or several, one column each.

    Panels of a row have one scale. I_res and the model's accuracy are dashed, unproductive layers have a red
    background, and a dotted line is where the tail begins. Where the fields of both axes agree, those of the height
    stand for both.

    Where a column holds networks that differ in their seed, each is drawn thin, and their mean thick with its standard
    deviation over seeds; the red is the fainter, the fewer networks a layer is unproductive in, and each network has
    its own dotted line.

    Args:
        reports: by the title of the column, such as the method; at least one. Several of a column have the same layers.
        headline: whether the verdict stands above the panels of a single network.

    Raises:
        ValueError: if there is no report, or networks of one column have different layers.
    """
    if not reports:
        raise ValueError("reports is empty: give at least one report by its title")
    columns = {title: [given] if isinstance(given, Findings) else list(given) for title, given in reports.items()}
    for title, networks in columns.items():
        if not networks or any([r.name for r in x.rows] != [r.name for r in networks[0].rows] for x in networks):
            raise ValueError(f"reports[{title!r}]: expected one network or more, with the same layers")
    found = [report for networks in columns.values() for report in networks]
    rows = [row for report in found for row in report.rows]
    drawn: list[tuple[Callable[[Axes, Sequence[Findings]], None], str]] = [(_fields, "receptive field\n(pixels)")]
    if any(row.saturation is not None for row in rows):
        drawn.insert(0, (_saturation, "saturation (%)"))
    if any(row.probe is not None for row in rows):
        drawn.insert(0, (_probes, "accuracy (%)"))
    figure = Figure(figsize=(WIDTH, 1.7 + 1.75 * len(drawn)), layout="constrained")
    panels = figure.subplots(len(drawn), len(columns), sharex="col", sharey="row", squeeze=False)
    for column, (title, same) in enumerate(columns.items()):
        for line, (draw, label) in enumerate(drawn):
            panel = styled(panels[line, column], "", label if column == 0 else "")
            _background(panel, same)
            draw(panel, same)
            panel.set_xlim(-0.6, len(same[0].rows) - 0.4)
            panel.grid(visible=False, axis="x")
            panel.tick_params(labelleft=column == 0)
        if title:
            room = max(14, 76 // len(columns))
            shown = [short(line, room) for line in textwrap.wrap(title, room, break_long_words=False)]
            panels[0, column].set_title(plain("\n".join(shown)), fontsize=NORMAL, color=INK, weight="bold")
        _names(panels[-1, column], same[0].rows, len(columns))
    pooled = any(len(networks) > 1 for networks in columns.values())
    legend(figure, _handles(found, pooled=pooled), headline=_headline(found[0]) if headline and len(found) == 1 else "")
    return figure


def _headline(report: Findings) -> str:
    """The verdict, in lines that fit."""
    said = report.verdict
    return "\n".join(textwrap.wrap(said[0].upper() + said[1:], LONGEST))


def _background(panel: Axes, same: Sequence[Findings]) -> None:
    for index in range(len(same[0].rows)):
        share = sum(bool(report.rows[index].unproductive) for report in same) / len(same)
        if share:
            panel.axvspan(index - 0.5, index + 0.5, color=FILLS[UNPRODUCTIVE], alpha=0.22 * share, lw=0)
    names = [row.name for row in same[0].rows]
    for number, report in enumerate(same):
        if report.tail.tail:
            aside = SPREAD * (number - (len(same) - 1) / 2) / len(same)  # so that no line hides another
            panel.axvline(names.index(report.tail.tail[0]) - 0.5 + aside, color=INK, lw=1.6, ls=DOTTED)


def _curve(panel: Axes, lines: Sequence[Sequence[float | None]], color: str, errors: Sequence[float | None]) -> None:
    """The mean of the lines at each layer, with the deviation over lines, or with the given errors of the only one."""
    for line in lines if len(lines) > 1 else ():
        points = [(x, y) for x, y in enumerate(line) if y is not None]
        if points:
            panel.plot(*zip(*points, strict=True), color=color, lw=0.8, alpha=0.45)
    means = [MeanStd.from_values(values) for values in zip(*lines, strict=True)]
    at = [index for index, mean in enumerate(means) if mean is not None]
    y = [mean.mean for mean in means if mean is not None]
    spread = [(mean.std if len(lines) > 1 else errors[k]) or 0.0 for k, mean in enumerate(means) if mean is not None]
    if any(spread):
        panel.errorbar(at, y, yerr=spread, color=color, marker="o", ms=4.5, lw=1.6, elinewidth=1.2, capsize=2)
    else:
        panel.plot(at, y, color=color, marker="o", ms=4.5, lw=1.6)


def _probes(panel: Axes, same: Sequence[Findings]) -> None:
    lines = [[None if row.probe is None else 100 * row.probe.accuracy for row in report.rows] for report in same]
    errors = [None if row.probe is None else 100 * row.probe.error for row in same[0].rows]
    _curve(panel, lines, PROBE, errors)
    for line, report in zip(lines, same, strict=True):
        loose = [k for k, row in enumerate(report.rows) if row.probe is not None and not row.probe.converged]
        panel.plot(loose, [line[k] for k in loose], "o", ms=4.5, mfc="white", mec=PROBE, ls="", zorder=4)  # type: ignore[arg-type]
    own = MeanStd.from_values(report.accuracy for report in same)
    if own is not None:
        panel.axhline(100 * own.mean, color=PROBE, lw=1.2, ls=DASHED)
    panel.yaxis.set_major_locator(MaxNLocator(5))


def _saturation(panel: Axes, same: Sequence[Findings]) -> None:
    lines = [[None if row.saturation is None else 100 * row.saturation.share for row in report.rows] for report in same]
    _curve(panel, lines, SATURATION, [None] * len(same[0].rows))
    names = [row.name for row in same[0].rows]
    for number, report in enumerate(same):
        if report.tail.low_saturation is not None:
            aside = SPREAD * (number - (len(same) - 1) / 2) / len(same)
            at = names.index(report.tail.low_saturation) - 0.5 + aside
            panel.axvline(at, color=SATURATION, lw=1.6, ls=DOTTED)
    panel.set_ylim(0, 104)  # percent; shared by a row of panels
    panel.yaxis.set_major_locator(MaxNLocator(5))


def _fields(panel: Axes, same: Sequence[Findings]) -> None:
    panel.set_yscale("log", base=2)
    extents = same[0].input_size[1:]
    axes = range(1) if all(map(_is_square, same)) else range(len(extents))
    for axis in axes:
        color = FIELDS[axis]
        for number, report in enumerate(same):
            aside = 0.0 if len(axes) == 1 else (2 * axis - 1) * ASIDE
            aside += 0.5 * ASIDE * (number - (len(same) - 1) / 2)
            for index, row in enumerate(report.rows):
                if row.r_min is None or row.r_max_local is None or math.isinf(row.r_min[axis]):
                    continue
                low, high = row.r_min[axis], row.r_max_local[axis]
                at, size = index + aside, 4.5 if len(same) == 1 else 3.0
                panel.plot([at, at], [low, high], color=color, lw=1.6, alpha=0.55, solid_capstyle="butt")
                panel.plot(at, low, MARKERS[axis], ms=size, color=color)
                if high > low:
                    panel.plot(at, high, "_", ms=7, mew=1.6, color=color)
        panel.axhline(extents[axis], color=INK, lw=1.4, ls=DASHED, zorder=5)
    panel.yaxis.set_major_locator(LogLocator(base=2, numticks=7))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _is_square(report: Findings) -> bool:
    """Whether both axes of the image and of all fields agree."""
    fields = [field for row in report.rows for field in (row.r_min, row.r_max_local) if field is not None]
    return all(len(set(pair)) == 1 for pair in (report.input_size[1:], *fields))


def _names(panel: Axes, rows: Sequence[InspectionRow], columns: int) -> None:
    """Label the axis with every layer's name, or with every n-th if there are too many."""
    most = max(1, int((WIDTH - 1.0) / columns / ACROSS))
    every = math.ceil(len(rows) / most)
    ticks = range(0, len(rows), every)
    texts = [plain(path_end(rows[index].name, 22)) for index in ticks]
    panel.set_xticks(list(ticks), texts, rotation=90, fontsize=SMALL)


def _handles(reports: Sequence[Findings], *, pooled: bool) -> list[Artist]:
    rows = [row for report in reports for row in report.rows]
    probes = [row.probe for row in rows if row.probe is not None]
    handles: list[Artist] = []
    spread = "deviation" if pooled else "standard error"
    if probes:
        handles.append(
            Line2D(
                [],
                [],
                color=PROBE,
                marker="o",
                ms=4.5,
                lw=1.6,
                label=f"probe ± {spread}",
            )
        )
    if not all(probe.converged for probe in probes):
        handles.append(Line2D([], [], color=PROBE, marker="o", mfc="white", ms=4.5, ls="", label="not converged"))
    if probes and any(report.accuracy is not None for report in reports):
        handles.append(Line2D([], [], color=PROBE, lw=1.2, ls=DASHED, label="the model itself"))
    if any(row.saturation is not None for row in rows):
        handles.append(Line2D([], [], color=SATURATION, marker="o", ms=4.5, lw=1.6, label="saturation"))
    square = all(map(_is_square, reports))
    more = any(row.r_max_local != row.r_min for row in rows)
    for axis, name in enumerate(("",) if square else axis_names(2)):
        label = "r_min" + " to r_max" * more + f", {name}" * bool(name)
        line = "-" if more else ""
        handles.append(Line2D([], [], color=FIELDS[axis], marker=MARKERS[axis], ms=4.5, lw=1.6, ls=line, label=label))
    handles.append(Line2D([], [], color=INK, lw=1.4, ls=DASHED, label="I_res"))
    if pooled:
        handles.append(Line2D([], [], color=PROBE, lw=0.8, alpha=0.6, label="one seed"))
    if any(row.unproductive for row in rows):
        handles.append(Patch(color=FILLS[UNPRODUCTIVE], alpha=0.22, lw=0, label="unproductive"))
    if any(report.tail.tail for report in reports):
        handles.append(Line2D([], [], color=INK, lw=1.6, ls=DOTTED, label="the tail begins"))
    if any(report.tail.low_saturation is not None for report in reports):
        handles.append(Line2D([], [], color=SATURATION, lw=1.6, ls=DOTTED, label="saturation stays low"))
    return handles


def plot_heatmaps(maps: Sequence[HeatMap]) -> Figure:
    """The heat maps as a strip, on one scale of colours: the accuracy of the probe at each position.

    Args:
        maps: at least one.

    Raises:
        ValueError: if there is none.
    """
    if not maps:
        raise ValueError("maps is empty: give at least one heat map")
    columns = min(len(maps), 6)
    lines = math.ceil(len(maps) / columns)
    figure = Figure(figsize=(WIDTH, 0.6 + (WIDTH - 1.2) / max(columns, 3) * lines * 1.12), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    values = [100 * value for found in maps for row in found.accuracy for value in row]
    image = None
    for panel in panels.flat[len(maps) :]:
        panel.set_visible(False)
    for found, panel in zip(maps, panels.flat, strict=False):
        shown = [[100 * value for value in row] for row in found.accuracy]
        image = panel.imshow(shown, vmin=min(values), vmax=max(values), cmap="viridis", aspect="equal")
        name = path_end(found.name, 96 // columns)
        panel.set_title(f"{plain(name)}\n{found.size[0]}×{found.size[1]}", fontsize=SMALL, color=INK)
        panel.set_xticks([])
        panel.set_yticks([])
    bar = figure.colorbar(image, ax=panels, shrink=0.85)  # type: ignore[arg-type]
    bar.set_label("probe accuracy (%)", fontsize=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=INK)
    return figure
