"""The pictures of a comparison, drawn without any global state: each function returns a Figure of its own.

Figures are 9 inches wide and meant to be shown at 900 pixels, where a point of type is about 1.4 pixels high.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from .runs import Epoch, Run

__all__ = [
    "draw",
    "method_colors",
    "plot_accuracy",
    "plot_alphas",
    "plot_i_min",
    "plot_sizes",
    "plot_tradeoff",
    "to_png",
]

# Okabe and Ito's palette, which readers with any kind of colour blindness can tell apart.
HUMAN, DYNOPOOL = "#0072B2", "#D55E00"
OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F3C8D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT = "#1a1a1a", "#8a8a8a"
WIDTH = 9.0
SMALL, NORMAL, LARGE = 9.5, 10.5, 11.5
MOST_ROWS = 4  # networks of different sizes drawn for one method


def draw(runs: Sequence[Run]) -> dict[str, Figure]:
    """All figures of the comparison by name, in a report's order; no 'alphas' if no run learns its sizes."""
    figures = {"accuracy_vs_gmacs": plot_tradeoff(runs), "sizes": plot_sizes(runs), "i_min": plot_i_min(runs)}
    if any(run.last.alphas for run in runs):
        figures["alphas"] = plot_alphas(runs)
    figures["accuracy"] = plot_accuracy(runs)
    return figures


def to_png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as the bytes of a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=dpi, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def method_colors(runs: Sequence[Run]) -> dict[str, str]:
    """A colour for each method, the same in every figure: human and dynopool always have theirs."""
    fixed = {"human": HUMAN, "dynopool": DYNOPOOL}
    names = dict.fromkeys(run.method for run in runs)
    others = [name for name in names if name not in fixed]
    return {name: fixed[name] if name in fixed else OTHERS[others.index(name) % len(OTHERS)] for name in names}


def plot_tradeoff(runs: Sequence[Run]) -> Figure:
    """Final test accuracy against GMACs: a point per run, the mean of a method with its standard deviations."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = _axes(figure.add_subplot(), "GMACs of one forward pass", "final test accuracy (%)")
    handles = []
    for index, (method, color) in enumerate(method_colors(runs).items()):
        marker = MARKERS[index % len(MARKERS)]
        points = [
            (run.last.gmacs, 100 * (run.last.test_accuracy or 0.0), run.finished)
            for run in runs
            if run.method == method and math.isfinite(run.last.gmacs)
        ]
        if not points:
            continue
        for gmacs, accuracy, finished in points:
            fill = color if finished else "none"
            axes.plot(gmacs, accuracy, marker, ms=7, mfc=fill, mec=color, mew=1.3, alpha=0.45 if finished else 1)
        x, y = [point[0] for point in points], [point[1] for point in points]
        bars = (statistics.stdev(x), statistics.stdev(y)) if len(points) > 1 else (0.0, 0.0)
        axes.errorbar(
            statistics.fmean(x),
            statistics.fmean(y),
            xerr=bars[0] or None,
            yerr=bars[1] or None,
            fmt=marker,
            ms=12,
            color=color,
            mec="white",
            mew=1.2,
            elinewidth=1.6,
            capsize=4,
            zorder=5,
        )
        handles.append(Line2D([], [], ls="", marker=marker, ms=10, color=color, label=_plain(method)))
    if _several(runs):
        handles.append(Line2D([], [], ls="", marker="o", ms=7, color=FAINT, alpha=0.6, label="one run"))
        handles.append(Line2D([], [], ls="", marker="o", ms=11, color=FAINT, label="mean ± std"))
    if not all(run.finished for run in runs):
        handles.append(Line2D([], [], ls="", marker="o", ms=7, mfc="none", mec=FAINT, label="unfinished run"))
    axes.margins(0.12)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    _legend(figure, handles)
    return figure


def plot_accuracy(runs: Sequence[Run]) -> Figure:
    """Test accuracy per epoch: a thin line per run, the mean of each method thick."""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = _axes(figure.add_subplot(), "epoch", "test accuracy (%)")
    for method, color in method_colors(runs).items():
        mine = [run for run in runs if run.method == method]
        _curves(axes, mine, lambda row: None if row.test_accuracy is None else 100 * row.test_accuracy, color)
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    _legend(figure, [*_method_handles(runs), *_thin_handle(runs)])
    return figure


def plot_i_min(runs: Sequence[Run]) -> Figure:
    """I_min per epoch, height and width apart, with the input resolution as a dashed line."""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colors = method_colors(runs)
    for axis, panel in enumerate(panels):
        title = ("along the height", "along the width")[axis]
        _axes(panel, "epoch", r"$I_\mathrm{min}$ (pixels)" if axis == 0 else "", title)
        for method, color in colors.items():
            mine = [run for run in runs if run.method == method]
            _curves(panel, mine, _i_min_along(axis), color)
        for extent in sorted({run.input_size[1 + axis] for run in runs}):
            panel.axhline(extent, color=INK, lw=1.4, ls=(0, (5, 3)), zorder=5)
        panel.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        infinite = {run.method for run in runs for row in run.history if not math.isfinite(row.i_min[axis])}
        if infinite:
            text = "not drawn where infinite: " + _plain(", ".join(sorted(infinite)))
            panel.text(0.98, 0.97, text, transform=panel.transAxes, ha="right", va="top", fontsize=SMALL, color=INK)
    # A line that lies on the edge of the axes is hard to see: leave some room on both sides of it.
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(0.0, low - 0.04 * (high - low)), high + 0.04 * (high - low))
    resolution = Line2D([], [], color=INK, lw=1.4, ls=(0, (5, 3)), label="input resolution")
    _legend(figure, [*_method_handles(runs), *_thin_handle(runs), resolution])
    return figure


def plot_alphas(runs: Sequence[Run]) -> Figure:
    """The learned strides alpha per epoch, a panel per resolution: height solid, width dashed.

    Raises:
        ValueError: if no run has alphas.
    """
    learned = [run for run in runs if any(row.alphas for row in run.history)]
    names = list(dict.fromkeys(name for run in learned for name in run.last.alphas))
    if not names:
        raise ValueError("no run has alphas: there is nothing to draw")
    colors = method_colors(runs)
    columns = min(len(names), 3 if len(names) in (5, 6, 9) else 4)
    titles = _distinct(names)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 2.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, panel in enumerate(panels.flat):
        if index >= len(names):
            panel.set_visible(False)
            continue
        below = index + columns >= len(names)
        name = names[index]
        _axes(
            panel,
            "epoch" if below else "",
            "alpha" if index % columns == 0 else "",
            _short(titles[index], 84 // columns),
        )
        panel.tick_params(labelbottom=below)
        for method, color in colors.items():
            mine = [run for run in learned if run.method == method and name in run.last.alphas]
            for axis, style in ((0, "-"), (1, (0, (4, 2)))):
                _curves(panel, mine, _alpha_along(name, axis), color, style)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(5))
    # One method needs no colour key, but height and width always do.
    learners = {run.method for run in learned}
    neutral = next(iter(colors[method] for method in learners)) if len(learners) == 1 else INK
    handles = [] if len(learners) == 1 else _method_handles(learned, colors)
    handles += [
        Line2D([], [], color=neutral, lw=2.4, ls="-", label="height"),
        Line2D([], [], color=neutral, lw=2.4, ls=(0, (4, 2)), label="width"),
        *_thin_handle(learned),
    ]
    _legend(figure, handles)
    return figure


def plot_sizes(runs: Sequence[Run]) -> Figure:
    """The feature maps of each network as rectangles to one scale, in network order from the input on.

    Runs that ended at the same sizes share a row; the sizes of the first human-designed run are outlined in every row.
    """
    rows = _size_rows(runs)
    colors = method_colors(runs)
    human = next((list(run.last.sizes.values()) for run in runs if run.method == "human"), [])
    networks = [*(sizes for _, sizes, _ in rows), human]
    longest = max(map(len, networks))
    # In inches: the words to the left, the least width of a column (its label must fit), the space between columns.
    left = min(2.3, 0.35 + 0.115 * max(len("unfinished"), *(len(method) for _, _, method in rows)))
    label = 0.1 * max(len(f"{height}×{width}") for sizes in networks for height, width in sizes)
    gap, space = 0.16, WIDTH - left - 0.15
    names, label = _column_names(runs, longest, label, (space + gap) / longest - gap)
    per_block = max(1, min(longest, int((space + gap) / (label + gap))))
    blocks = [range(start, min(start + per_block, longest)) for start in range(0, longest, per_block)]
    widest = [max(sizes[column][1] for sizes in networks if column < len(sizes)) for column in range(longest)]

    def needed(scale: float) -> float:
        return max(sum(max(widest[column] * scale, label) + gap for column in block) - gap for block in blocks)

    scale = 1.35 / max(height for sizes in networks for height, _ in sizes)
    while needed(scale) > space and scale * max(widest) > label:
        scale *= 0.97
    gap += max(0.0, min(0.5, (space - needed(scale)) / max(1, per_block - 1)))
    tallest = {
        (row, block.start): max(
            (size[0] * scale for network in (sizes, human) for size in network[block.start : block.stop]),
            default=0.0,
        )
        for row, (_, sizes, _) in enumerate(rows)
        for block in blocks
    }
    heights = {key: max(value, 0.5) + 0.42 for key, value in tallest.items()}
    total = sum(heights.values()) + 0.42 * len(blocks) + 0.35
    figure = Figure(figsize=(WIDTH, total))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(total, 0)
    y = 0.1
    for block in blocks:
        centers, x = {}, left
        for column in block:
            width = max(widest[column] * scale, label)
            centers[column] = x + width / 2
            x += width + gap
            text = _plain(names[column])
            axes.text(centers[column], y + 0.2, text, ha="center", va="center", fontsize=SMALL, color="#555555")
        y += 0.42
        for row, (words, sizes, method) in enumerate(rows):
            middle = y + (heights[row, block.start] - 0.42) / 2
            if block.start < len(sizes):
                axes.text(
                    0.1, middle - 0.06, _plain(_short(method, 18)), fontsize=LARGE, weight="bold", color=colors[method]
                )
                axes.text(0.1, middle + 0.02, words, fontsize=SMALL, color=INK, va="top", parse_math=False)
            for column in block:
                if column < len(sizes):
                    # The input is the same for all, so it needs no outline.
                    outline = human[column] if method != "human" and 0 < column < len(human) else None
                    _feature_map(axes, centers[column], middle, sizes[column], scale, colors[method], outline)
            y += heights[row, block.start]
    if human and any(method != "human" for _, _, method in rows):
        axes.add_patch(Rectangle((left, y + 0.03), 0.22, 0.16, fill=False, ec=INK, lw=1.1, ls=(0, (3, 2))))
        note = "dashed: the human-designed size"
        axes.text(left + 0.3, y + 0.11, note, fontsize=SMALL, color=INK, va="center")
    return figure


def _feature_map(
    axes: Axes,
    center: float,
    middle: float,
    size: tuple[int, int],
    scale: float,
    color: str,
    outline: tuple[int, int] | None,
) -> None:
    """One rectangle to scale with its size below, and the human-designed size outlined over it."""

    def rectangle(size: tuple[int, int]) -> Rectangle:
        height, width = size[0] * scale, size[1] * scale
        return Rectangle((center - width / 2, middle - height / 2), width, height)

    # A map of a few pixels is but a dot: it is filled in full to be seen, and an outline would hide it.
    dot = max(size) * scale < 0.12
    shape = rectangle(size)
    shape.set(facecolor=color, edgecolor=color, linewidth=0.8, alpha=1.0 if dot else 0.55)
    axes.add_patch(shape)
    below = size[0] * scale
    if outline is not None:
        below = max(below, outline[0] * scale)
        if not dot:
            shape = rectangle(outline)
            shape.set(fill=False, edgecolor=INK, linewidth=1.1, linestyle=(0, (3, 2)))
            axes.add_patch(shape)
    text = f"{size[0]}×{size[1]}"
    axes.text(center, middle + below / 2 + 0.13, text, ha="center", va="center", fontsize=NORMAL, color=INK)


def _size_rows(runs: Sequence[Run]) -> list[tuple[str, list[tuple[int, int]], str]]:
    """(words, sizes, method) of each row of the drawing: runs with the same sizes share one."""
    groups: dict[tuple[str, tuple[tuple[int, int], ...]], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method, tuple(run.last.sizes.values())), []).append(run)
    rows: list[tuple[str, list[tuple[int, int]], str]] = []
    for method in method_colors(runs):
        mine = [(sizes, same) for (name, sizes), same in groups.items() if name == method]
        for index, (sizes, same) in enumerate(mine[:MOST_ROWS]):
            seeds = [str(run.seed) for run in same]
            shown = ", ".join(seeds[:3]) + (" …" if len(seeds) > 3 else "")
            words = f"seed {shown}" if len(seeds) == 1 else f"seeds {shown}"
            unfinished = sum(not run.finished for run in same)
            if unfinished:
                words += "\nunfinished" if unfinished == len(same) else f"\n{unfinished} unfinished"
            if index == MOST_ROWS - 1 and len(mine) > MOST_ROWS:
                words += f"\n({len(mine) - MOST_ROWS} more not drawn)"
            rows.append((words, list(sizes), method))
    return rows


def _column_names(runs: Sequence[Run], count: int, least: float, most: float) -> tuple[list[str], float]:
    """The heads of the columns and the width in inches a column needs: numbers if names do not fit or do not agree."""
    names = {tuple(run.last.sizes) for run in runs}
    if len(names) == 1:
        heads = _distinct(list(names.pop()))
        width = max(least, 0.085 * max(map(len, heads)))
        if width <= most:
            return heads, width
    return ["input", *(str(index) for index in range(1, count))], least


def _distinct(names: Sequence[str]) -> list[str]:
    """The module paths without the last parts that all but 'input' share, e.g. without '.conv_dw'."""
    paths = [name.split(".") for name in names if name != "input"]
    shared = 0
    while len(paths) > 1 and all(
        len(path) > shared + 1 and path[-1 - shared] == paths[0][-1 - shared] for path in paths
    ):
        shared += 1
    return [name if name == "input" or not shared else ".".join(name.split(".")[:-shared]) for name in names]


def _i_min_along(axis: int) -> Callable[[Epoch], float | None]:
    return lambda row: row.i_min[axis]


def _alpha_along(name: str, axis: int) -> Callable[[Epoch], float | None]:
    return lambda row: row.alphas[name][axis] if name in row.alphas else None


def _curves(
    axes: Axes,
    runs: Sequence[Run],
    value: Callable[[Epoch], float | None],
    color: str,
    style: str | tuple[int, tuple[int, ...]] = "-",
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
        # A single point makes no line, so it is drawn as a dot.
        axes.plot(shared, mean, color=color, lw=2.4, ls=style, marker="o" if len(shared) == 1 else "", zorder=4)


def _axes(axes: Axes, x: str, y: str, title: str = "") -> Axes:
    axes.set_xlabel(x, fontsize=NORMAL, color=INK)
    axes.set_ylabel(y, fontsize=NORMAL, color=INK)
    if title:
        axes.set_title(_plain(title), fontsize=NORMAL, color=INK)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.grid(color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    return axes


def _method_handles(runs: Sequence[Run], colors: Mapping[str, str] | None = None) -> list[Line2D]:
    colors = method_colors(runs) if colors is None else colors
    names = dict.fromkeys(run.method for run in runs)
    return [Line2D([], [], color=colors[name], lw=2.4, label=_plain(name)) for name in names]


def _thin_handle(runs: Sequence[Run]) -> list[Line2D]:
    """The key to the thin lines, where some method has several runs."""
    return [Line2D([], [], color=FAINT, lw=0.9, label="one run (thick: mean)")] if _several(runs) else []


def _several(runs: Sequence[Run]) -> bool:
    """Whether some method has more than one run."""
    return len({run.method for run in runs}) < len(runs)


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    # One line if it fits in the width (about 0.085 inches a letter, 0.6 for each sign), else two.
    length = sum(0.085 * len(str(handle.get_label())) + 0.6 for handle in handles)
    columns = math.ceil(len(handles) / math.ceil(length / WIDTH))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=NORMAL, columnspacing=1.5
    )


def _plain(text: str) -> str:
    """`text` as matplotlib shows it literally: a dollar sign starts no formula, a leading underscore hides no label."""
    escaped = text.replace("$", r"\$")
    return "\u200a" + escaped if escaped.startswith("_") else escaped


def _short(text: str, most: int) -> str:
    """`text`, its middle left out if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    keep = most - 1
    return text[: keep // 3] + "…" + text[len(text) - (keep - keep // 3) :]
