"""Draws the pictures of docs/concepts.md with the library's own figures: `make pictures`, a few seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torchvision
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import dynpool
from dynpool.analysis import receptive_field
from dynpool.analysis.common.colors import DYNOPOOL, FILLS, HUMAN, UNDERUTILIZED, UNPRODUCTIVE
from dynpool.analysis.common.style import FAINT, INK, NORMAL, SMALL, styled
from dynpool.analysis.fields import FieldReport, LayerRow
from dynpool.size_math import output_size, query_grid

OUT = Path(__file__).parent / "pictures"
INPUT = (3, 64, 64)
STEM_TO_HEAD = (
    "conv1", "layer1.0.conv2", "layer2.1.conv2", "layer3.1.conv2", "layer4.0.conv2", "layer4.1.conv2",
)  # fmt: skip


def color_of(report: FieldReport, row: LayerRow) -> str:
    """Red for an unproductive layer, orange for an underutilized one, else blue."""
    if row.name in report.unproductive:
        return FILLS[UNPRODUCTIVE]
    return FILLS[UNDERUTILIZED] if row.name in report.underutilized else HUMAN


def resolution_tree() -> Figure:
    """The resolutions of a ResNet-18 with learned sizes, to scale, and the layers that resize to each."""
    model = dynpool.convert(torchvision.models.resnet18(num_classes=10), INPUT)
    dynpool.set_sizes(model, {"conv1": (40, 28), "maxpool": (22, 16), "layer2.0.conv1": (12, 8)})
    sizes = dynpool.sizes(model, INPUT)
    rows = dynpool.conversion_report(model).rows
    figure = Figure(figsize=(9, 2.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-4, 446), ylim=(-86, 48))
    axes.set_aspect("equal")
    axes.axis("off")
    x, widths = 0.0, [width for _, width in sizes.values()]
    for index, (name, (height, width)) in enumerate(sizes.items()):
        color = FAINT if name == "input" else DYNOPOOL
        axes.add_patch(Rectangle((x, -height / 2), width, height, fc=color, ec=color, alpha=0.55))
        axes.text(x + width / 2, 36, name, ha="center", fontsize=SMALL, color=INK)
        axes.text(x + width / 2, -41, f"{height}×{width}", ha="center", fontsize=NORMAL, color=INK)
        layers = [f"{row.name}\n{row.status}" for row in rows if row.resolution == name]
        axes.text(x + width / 2, -47, "\n".join(layers), ha="center", va="top", fontsize=7.5, color=INK)
        if index < len(sizes) - 1:
            end = x + width
            gap = 68 - (width + widths[index + 1]) / 2 if index > 1 else 40
            axes.annotate("", (end + gap - 3, 0), (end + 3, 0), arrowprops={"arrowstyle": "->", "color": INK})
            axes.text(end + gap / 2, 4, "alpha", ha="center", fontsize=SMALL, color=INK)
            x = end + gap
    return figure


def alpha() -> Figure:
    """Output size over alpha: what the forward pass uses, and what the gradient sees."""
    alphas = np.linspace(1, 26, 1200)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = styled(
        figure.add_subplot(), "alpha: the learned stride, input pixels per output pixel", "output pixels of 32"
    )
    axes.plot(
        alphas, [output_size(32, a) for a in alphas], color=DYNOPOOL, lw=2, label="forward: round(max(32 / alpha, 1.5))"
    )
    axes.plot(alphas, 32 / alphas, color=HUMAN, lw=1.5, ls="--", label="backward: 32 / alpha, its slope −32 / alpha²")
    axes.axhline(2, color=FAINT, lw=1, ls=":")
    axes.text(26, 2.3, "at least 2 pixels", ha="right", fontsize=SMALL, color=INK)
    axes.plot([2], [16], "o", color=INK)
    axes.annotate("alpha = 2: max pooling with stride 2", (2, 16), (4, 18), fontsize=SMALL, color=INK)
    axes.legend(frameon=False, fontsize=NORMAL)
    return figure


def queries() -> Figure:
    """The queries of the cells of one axis, and where they go as alpha grows."""
    figure = Figure(figsize=(9, 2.6))
    axes = figure.add_axes((0.01, 0.02, 0.98, 0.96))
    axes.set(xlim=(-0.9, 8.2), ylim=(-1.3, 1.25))
    axes.axis("off")
    size, cells = 8, 3
    for pixel in range(size):
        axes.add_patch(Rectangle((pixel - 0.5, -0.35), 1, 0.7, fc="#eef3f5", ec=FAINT))
        axes.text(pixel, -0.62, str(pixel), ha="center", fontsize=SMALL, color=FAINT)
    floors, rests, denominator = query_grid(size, cells)
    places = [floor + rest / denominator for floor, rest in zip(floors, rests, strict=True)]
    for cell in range(cells):
        start, end = cell * size / cells - 0.5, (cell + 1) * size / cells - 0.5
        axes.plot([start, start], [-0.5, 0.55], color=INK, lw=1.2)
        middle = (start + end) / 2
        axes.plot([middle], [0], "x", color=INK, ms=7)
        axes.text(middle, 0.95, f"output pixel {cell}", ha="center", fontsize=NORMAL, color=INK)
        for place, sign in zip(places[2 * cell : 2 * cell + 2], (-1, 1), strict=True):
            axes.plot([place], [0], "o", color=DYNOPOOL, ms=9)
            arrow = {"arrowstyle": "->", "color": DYNOPOOL, "lw": 1.8}
            axes.annotate("", (place + 0.45 * sign, 0.55), (place, 0.55), arrowprops=arrow)
    axes.plot([size - 0.5] * 2, [-0.5, 0.55], color=INK, lw=1.2)
    axes.text(
        3.5, -1.1, "dots: queries (an output pixel is the maximum over its own)    x: cell centres, fixed    "
        "arrows: as alpha grows", ha="center", fontsize=SMALL, color=INK,
    )  # fmt: skip
    return figure


def i_min() -> Figure:
    """r_min and r_max of the convolutions of a ResNet-18 against the input size, and where I_min is."""
    report = receptive_field(torchvision.models.resnet18(num_classes=10), INPUT)
    rows = [row for row in report.layers if row.kind == "convolution"]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = styled(figure.add_subplot(), "convolutions, from the first to the last", "receptive field (pixels)")
    least, most = [row.r_min[0] for row in rows], [row.r_max[0] for row in rows]
    colors = [color_of(report, row) for row in rows]
    axes.bar(range(len(rows)), most, color="#dfe6e9", width=0.85, label="r_max: along the longest path")
    axes.bar(range(len(rows)), least, color=colors, width=0.55, label="r_min: along the shortest path")
    axes.axhline(INPUT[1], color=INK, ls="--", lw=1)
    axes.text(0, INPUT[1] + 6, "I_res = 64", fontsize=SMALL, color=INK, ha="left")
    at = int(np.argmax(least))
    axes.annotate(
        f"I_min = {least[at]:.0f}",
        (at, least[at]),
        (at - 4, least[at] + 60),
        fontsize=NORMAL,
        color=INK,
        arrowprops={"arrowstyle": "->", "color": INK},
    )
    axes.set_xticks(range(len(rows)), [row.name for row in rows], rotation=60, ha="right", fontsize=7.5)
    axes.legend(frameon=False, fontsize=NORMAL, loc="upper left")
    return figure


def unproductive() -> Figure:
    """The smallest receptive fields of some layers beside an image of 64 pixels, to scale."""
    report = receptive_field(torchvision.models.resnet18(num_classes=10), INPUT)
    chosen = [row for row in report.layers if row.name in STEM_TO_HEAD]
    figure = Figure(figsize=(9, 2.5))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_aspect("equal")
    axes.axis("off")
    x = 0.0
    for row in chosen:
        color = color_of(report, row)
        field = row.r_min[0]
        wide = max(field, 64.0)
        middle = x + wide / 2
        axes.add_patch(Rectangle((middle - 32, -32), 64, 64, fc="#e8edef", ec=INK, lw=1))
        axes.add_patch(Rectangle((middle - field / 2, -field / 2), field, field, fc=color, ec=color, alpha=0.35))
        axes.add_patch(Rectangle((middle - field / 2, -field / 2), field, field, fc="none", ec=color, lw=1.8))
        axes.text(middle, -96, f"{row.name}\n{field:.0f} pixels", ha="center", fontsize=SMALL, color=INK)
        x += wide + 26
    axes.set(xlim=(-12, x - 10), ylim=(-104, 78))
    return figure


def make() -> None:
    """Write every picture as an SVG file."""
    OUT.mkdir(exist_ok=True)
    for draw in (resolution_tree, alpha, queries, i_min, unproductive):
        with rc_context({"svg.hashsalt": draw.__name__, "svg.fonttype": "path"}):
            draw().savefig(OUT / f"{draw.__name__}.svg", facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    make()
