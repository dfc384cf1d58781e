"""The plot of a pruning report: score against amount, and sparsity along the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ..common.style import FAINT, NORMAL, SMALL, WIDTH, legend, path_end, plain, styled

__all__ = ["plot_pruning"]

BEFORE, AFTER = "#D55E00", "#0072B2"
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
