"""Plots of training runs: metric against cost, and metric, I_min and learned strides per epoch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ...common.axis_names import axis_names
from ...common.colors import DYNOPOOL, HUMAN, OTHERS
from ...common.cost_unit import CostUnit, cost_unit
from ...common.statistics import pareto_front
from ...common.style import FAINT, INK, SMALL, WIDTH, distinct, legend, plain, short, styled
from ..metrics_table import Epoch
from ..read_runs import Run
from ..rows import metric_name

__all__ = ["method_colors", "plot_alphas", "plot_i_min", "plot_metric", "plot_tradeoff", "tradeoff_positions"]

LINE, WIDEST_LINE = 2.4, 8.4  # points, of the lines of means
POINT, WIDEST_POINT = 10.0, 22.0
STYLES: Mapping[str, str | tuple[int, tuple[int, ...]]] = MappingProxyType(  # of the lines of an axis
    {"length": "-", "height": "-", "width": (0, (4, 2)), "depth": (0, (1, 1))}
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def method_colors(runs: Sequence[Run]) -> dict[str, str]:
    """A colour for each method, the same in every figure. Those of human and dynopool never change."""
    fixed = {"human": HUMAN, "dynopool": DYNOPOOL}
    names = dict.fromkeys(run.method for run in runs)
    others = [name for name in names if name not in fixed]
    return {name: fixed[name] if name in fixed else OTHERS[others.index(name) % len(OTHERS)] for name in names}


def _widths(methods: Iterable[str], narrowest: float, widest: float) -> dict[str, float]:
    """A line or marker width for each method. Later ones are drawn on top and narrower, so that none hides another."""
    names = list(methods)
    step = (widest - narrowest) / max(3, len(names) - 1)
    return {name: narrowest + step * (len(names) - 1 - index) for index, name in enumerate(names)}


def plot_tradeoff(runs: Sequence[Run]) -> Figure:
    """The final metric against GMACs: one point per run, and the mean of each group with its standard deviations.

    A line joins the means of a method that was trained at several grid points. The Pareto front of all means is grey.
    """
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    unit = cost_unit(run.last.gmacs for run in runs)
    axes = styled(figure.add_subplot(), f"{unit.name} of one forward pass", f"final {metric_name(runs)} (%)")
    handles, means = [], []
    colors = method_colors(runs)
    widths = _widths(colors, POINT, WIDEST_POINT)
    for index, (method, color) in enumerate(colors.items()):
        marker = MARKERS[index % len(MARKERS)]
        mine = [run for run in runs if run.method == method and math.isfinite(run.last.gmacs)]
        if not mine:
            continue
        for run in mine:
            fill, alpha = (color, 0.45) if run.finished else ("none", 1)
            axes.plot(unit.scale * run.last.gmacs, _score(run), marker, ms=7, mfc=fill, mec=color, mew=1.3, alpha=alpha)
        groups = [
            _mean_point((r for r in mine if r.group == group), unit) for group in dict.fromkeys(r.group for r in mine)
        ]
        groups.sort()
        axes.plot([g[0] for g in groups], [g[1] for g in groups], color=color, lw=1.6, zorder=4)
        for x, y, std_x, std_y in groups:
            axes.errorbar(
                x,
                y,
                xerr=std_x or None,
                yerr=std_y or None,
                fmt=marker,
                ms=widths[method],
                color=color,
                mec="white",
                mew=1.2,
                elinewidth=1.6,
                capsize=4,
                zorder=5,
            )
        means += [(x, y) for x, y, _, _ in groups]
        handles.append(Line2D([], [], ls="", marker=marker, ms=10, color=color, label=plain(method)))
    front = [means[i] for i in pareto_front(means)]
    if len(front) > 1:
        axes.plot([x for x, _ in front], [y for _, y in front], color=FAINT, lw=5, alpha=0.35, zorder=1)
        handles.append(Line2D([], [], color=FAINT, lw=5, alpha=0.35, label="Pareto front"))
    if _several(runs):
        handles.append(Line2D([], [], ls="", marker="o", ms=7, color=FAINT, alpha=0.6, label="one run"))
        handles.append(Line2D([], [], ls="", marker="o", ms=11, color=FAINT, label="mean ± std"))
    if not all(run.finished for run in runs):
        handles.append(Line2D([], [], ls="", marker="o", ms=7, mfc="none", mec=FAINT, label="unfinished run"))
    _cost_axis(axes, [x for x, _ in means])
    legend(figure, handles)
    return figure


def tradeoff_positions(figure: Figure, runs: Sequence[Run]) -> list[tuple[float, float] | None]:
    """Where the point of each run stands in a drawn `plot_tradeoff` of them, for links laid over the picture.

    Returns:
        for each run the fractions of the picture's width, from the left, and height, from the top; None where its cost
        is not finite, as such runs are not drawn.
    """
    axes = figure.axes[0]
    unit = cost_unit(run.last.gmacs for run in runs)
    to_figure = axes.transData + figure.transFigure.inverted()
    found: list[tuple[float, float] | None] = []
    for run in runs:
        x, y = to_figure.transform((unit.scale * run.last.gmacs, _score(run)))
        found.append((float(x), 1 - float(y)) if math.isfinite(run.last.gmacs) else None)
    return found


def _score(run: Run) -> float:
    return 100 * (run.last.score or 0.0)


def _mean_point(runs: Iterable[Run], unit: CostUnit) -> tuple[float, float, float, float]:
    """(mean cost, mean metric in percent, standard deviation of each); 0 for a single run."""
    x, y = zip(*((unit.scale * run.last.gmacs, _score(run)) for run in runs), strict=True)
    several = len(x) > 1
    return (
        statistics.fmean(x),
        statistics.fmean(y),
        statistics.stdev(x) if several else 0.0,
        statistics.stdev(y) if several else 0.0,
    )


def _cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """Set the cost axis: linear, or logarithmic if costs differ by more than a factor of 8."""
    axes.margins(0.12)
    if costs and min(costs) > 0 and max(costs) > 8 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)


def plot_metric(runs: Sequence[Run]) -> Figure:
    """The metric per epoch: a thin line per run, a thick one for the mean of each method."""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = styled(figure.add_subplot(), "epoch", f"{metric_name(runs)} (%)")
    colors = method_colors(runs)
    widths = _widths(colors, LINE, WIDEST_LINE)
    for method, color in colors.items():
        for mine in _groups(run for run in runs if run.method == method):
            _curves(axes, mine, _percent, color, width=widths[method])
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    legend(figure, [*_method_handles(runs), *_thin_handle(runs)])
    return figure


def plot_i_min(runs: Sequence[Run]) -> Figure:
    """I_min per epoch, a panel for each axis, with the input resolution as a dashed line.

    It is dotted, and starred in the legend, for networks with layers behind a global operation, which I_min leaves out.
    """
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    names = axis_names(len(runs[0].input_size) - 1)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    colors = method_colors(runs)
    widths = _widths(colors, LINE, WIDEST_LINE)
    for axis, panel in enumerate(panels):
        styled(panel, "epoch", r"$I_\mathrm{min}$ (pixels)" if axis == 0 else "", f"along the {names[axis]}")
        for method, color in colors.items():
            for mine in _groups(run for run in runs if run.method == method):
                style = (0, (1, 1)) if _starred(mine) else "-"
                _curves(panel, mine, _i_min_along(axis), color, style, width=widths[method])
        for extent in sorted({run.input_size[1 + axis] for run in runs}):
            panel.axhline(extent, color=INK, lw=1.4, ls=(0, (5, 3)), zorder=5)
        panel.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        infinite = {run.method for run in runs for row in run.history if not math.isfinite(row.i_min[axis])}
        if infinite:
            text = "infinite values not drawn: " + plain(", ".join(sorted(infinite)))
            panel.text(0.98, 0.97, text, transform=panel.transAxes, ha="right", va="top", fontsize=SMALL, color=INK)
    # Leave some margin: a line on the edge of the axes is hard to see.
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(0.0, low - 0.04 * (high - low)), high + 0.04 * (high - low))
    resolution = Line2D([], [], color=INK, lw=1.4, ls=(0, (5, 3)), label="input resolution")
    methods = _method_handles(runs)
    for handle, method in zip(methods, colors, strict=True):
        if _starred([run for run in runs if run.method == method]):
            handle.set(linestyle=(0, (1, 1)), label=f"{handle.get_label()} *")
    legend(figure, [*methods, *_thin_handle(runs), resolution])
    return figure


def _starred(runs: Sequence[Run]) -> bool:
    return any(run.last.behind_global for run in runs)


def plot_alphas(runs: Sequence[Run]) -> Figure:
    """The learned strides per epoch, one panel per resolution: height solid, width dashed, depth dotted.

    Raises:
        ValueError: if no run has learned strides.
    """
    learned = [run for run in runs if any(row.strides for row in run.history)]
    names = list(dict.fromkeys(name for run in learned for name in run.last.strides))
    if not names:
        raise ValueError("no run has learned strides to plot")
    colors = method_colors(runs)
    widths = _widths(dict.fromkeys(run.method for run in learned), LINE, WIDEST_LINE)
    columns = min(len(names), 3 if len(names) in (5, 6, 9) else 4)
    titles, axes = distinct(names), axis_names(len(runs[0].input_size) - 1)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 2.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, panel in enumerate(panels.flat):
        if index >= len(names):
            panel.set_visible(False)
            continue
        below = index + columns >= len(names)
        name = names[index]
        styled(
            panel,
            "epoch" if below else "",
            "stride" if index % columns == 0 else "",
            short(titles[index], 84 // columns),
        )
        panel.tick_params(labelbottom=below)
        for method, color in colors.items():
            for mine in _groups(run for run in learned if run.method == method and name in run.last.strides):
                for axis, along in enumerate(axes):
                    _curves(panel, mine, _stride_along(name, axis), color, STYLES[along], width=widths[method])
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(5))
    # A single method needs no legend entry; axes always do.
    learners = {run.method for run in learned}
    neutral = next(iter(colors[method] for method in learners)) if len(learners) == 1 else INK
    handles = [] if len(learners) == 1 else _method_handles(learned, colors)
    handles += [
        *(Line2D([], [], color=neutral, lw=2.4, ls=STYLES[along], label=along) for along in axes),
        *_thin_handle(learned),
    ]
    legend(figure, handles)
    return figure


def _percent(row: Epoch) -> float | None:
    return None if row.score is None else 100 * row.score


def _i_min_along(axis: int) -> Callable[[Epoch], float | None]:
    return lambda row: row.i_min[axis]


def _stride_along(name: str, axis: int) -> Callable[[Epoch], float | None]:
    return lambda row: row.strides[name][axis] if name in row.strides else None


def _curves(
    axes: Axes,
    runs: Sequence[Run],
    value: Callable[[Epoch], float | None],
    color: str,
    style: str | tuple[int, tuple[int, ...]] = "-",
    *,
    width: float = LINE,
) -> None:
    """A thin line per run and a thick one for their mean, over the epochs that all of them have."""
    lines = []
    for run in runs:
        points = {row.epoch: value(row) for row in run.history}
        known = {epoch: y for epoch, y in points.items() if y is not None and math.isfinite(y)}
        if known:
            lines.append(known)
    if len(lines) > 1:
        for line in lines:
            axes.plot(list(line), list(line.values()), color=color, lw=0.9, alpha=0.4, ls=style)
    if lines:
        shared = sorted(set.intersection(*map(set, lines)))
        mean = [statistics.fmean(line[epoch] for line in lines) for epoch in shared]
        # A single point makes no line: draw a dot.
        axes.plot(shared, mean, color=color, lw=width, ls=style, marker="o" if len(shared) == 1 else "", zorder=4)


def _method_handles(runs: Sequence[Run], colors: Mapping[str, str] | None = None) -> list[Line2D]:
    colors = method_colors(runs) if colors is None else colors
    widths = _widths(dict.fromkeys(run.method for run in runs), LINE, WIDEST_LINE)
    return [Line2D([], [], color=colors[name], lw=width, label=plain(name)) for name, width in widths.items()]


def _thin_handle(runs: Sequence[Run]) -> list[Line2D]:
    """The legend entry for the thin lines, if some group has several runs."""
    return [Line2D([], [], color=FAINT, lw=0.9, label="one run (thick: mean)")] if _several(runs) else []


def _several(runs: Sequence[Run]) -> bool:
    """Whether some group has more than one run."""
    return len({run.group for run in runs}) < len(runs)


def _groups(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs in groups that differ only in their seed."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return list(groups.values())
