"""The plot of a pruning report: score against amount, and sparsity along the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ..common.statistics import MeanStd
from ..common.style import FAINT, NORMAL, SMALL, WIDTH, legend, path_end, plain, styled

__all__ = ["plot_pruning", "plot_pruning_over_seeds"]

BEFORE, AFTER = "#D55E00", "#0072B2"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
Curve = Sequence[tuple[float, float, float | None]]
LABELS = 30  # layers, above which not every layer is labelled


def plot_pruning(
    amounts: Sequence[float],
    dense: float,
    before: Sequence[float],
    after: Sequence[float | None],
    sparsity: Sequence[Mapping[str, float]],
    *,
    score: str,
) -> Figure:
    """See `PruningReport.plot`.

    Args:
        amounts: in rising order.
        dense: score of the whole model.
        before, after: scores at each amount, without and with fine-tuning; None: there was none.
        sparsity: of each layer, at each amount.
        score: label of the score's axis.
    """
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    styled(left, "share of weights removed", plain(score))
    left.axhline(dense, color=FAINT, lw=1.4, ls="--")
    left.plot(amounts, before, color=BEFORE, marker="o", ms=5, lw=1.8)
    handles: list[Artist] = [
        Line2D([], [], color=FAINT, ls="--", lw=1.4, label="whole model"),
        Line2D([], [], color=BEFORE, marker="o", ms=5, lw=1.8, label="pruned"),
    ]
    tuned = [(amount, value) for amount, value in zip(amounts, after, strict=True) if value is not None]
    if tuned:
        left.plot(*zip(*tuned, strict=True), color=AFTER, marker="s", ms=5, lw=1.8)
        handles.append(Line2D([], [], color=AFTER, marker="s", ms=5, lw=1.8, label="pruned and fine-tuned"))
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    styled(right, "", "share of the layer's weights removed")
    layers = list(sparsity[0])
    shades = matplotlib.colormaps["viridis_r"]
    for k, (amount, shares) in enumerate(zip(amounts, sparsity, strict=True)):
        color = shades(0.15 + 0.85 * k / max(1, len(amounts) - 1))
        label = f"{100 * amount:g} %"
        right.plot(range(len(layers)), [shares[name] for name in layers], color=color, marker=".", lw=1.6, label=label)
    step = -(-len(layers) // LABELS)
    at = range(0, len(layers), step)
    right.set_xticks(list(at), [plain(path_end(layers[k], 16)) for k in at])
    right.tick_params(axis="x", rotation=90 if max(map(len, layers)) > 3 else 0)
    right.set_xlabel("layer", fontsize=NORMAL)
    right.set_ylim(-0.03, 1.03)
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    right.legend(
        *(part[::-1] for part in right.get_legend_handles_labels()),
        title="of all weights",
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        loc="best",
    )
    legend(figure, handles, headline="Global magnitude pruning")
    return figure


def plot_pruning_over_seeds(curves: Mapping[str, Sequence[Curve]], *, score: str) -> Figure:
    """Scores after pruning, mean and deviation over the networks of each design: without and with fine-tuning.

    Args:
        curves: {design: one curve per network}, a curve being (amount, score, score after fine-tuning or None) from the
            whole network at amount 0 on, with the same amounts for all networks of a design.
        score: label of the scores' axis.
    """
    tuned = any(point[2] is not None for found in curves.values() for curve in found for point in curve[1:])
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    panels = figure.subplots(1, 1 + tuned, sharey=True, squeeze=False)[0]
    titles = ("pruned", "pruned and fine-tuned")
    for panel, title, part in zip(panels, titles, (1, 2), strict=False):
        styled(panel, "share of weights removed", plain(score) if part == 1 else "")
        panel.set_title(title, fontsize=NORMAL, loc="left")
        panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        for number, found in enumerate(curves.values()):
            means = [MeanStd.from_values(values) for values in zip(*([p[part] for p in c] for c in found), strict=True)]
            points = [(point[0], mean) for point, mean in zip(found[0], means, strict=True) if mean is not None]
            panel.errorbar(
                [amount for amount, _ in points], [mean.mean for _, mean in points],
                yerr=[mean.std or 0.0 for _, mean in points], color=COLORS[number % len(COLORS)],
                marker="os^Dv<"[number % 6], ms=5, lw=1.8, elinewidth=1.2, capsize=2,
            )  # fmt: skip
    handles: list[Artist] = [
        Line2D([], [], color=COLORS[n % len(COLORS)], marker="os^Dv<"[n % 6], ms=5, lw=1.8, label=plain(name))
        for n, name in enumerate(curves)
    ]
    legend(figure, handles, headline="Global magnitude pruning: mean and deviation over seeds")
    return figure
