"""The plot of Hessian spectra: eigenvalues by rank on one logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..common.style import INK, NORMAL, WIDTH, legend, plain, short, styled

__all__ = ["plot_spectra", "plot_spectra_side_by_side"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MOST_ACROSS = 4  # panels


def plot_spectra(spectra: Mapping[str, Sequence[float]]) -> Figure:
    """See `HessianSpectrum.plot`.

    Args:
        spectra: eigenvalues by label, each in its order of rank.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = styled(figure.subplots(), "rank", "eigenvalue, by magnitude")
    handles: list[Artist] = []
    below = zero = 0
    for (label, values), color in zip(spectra.items(), _colors(len(spectra)), strict=True):
        ranks = range(1, len(values) + 1)
        for sign, marker in ((1, "o"), (-1, "v")):
            points = [(rank, sign * value) for rank, value in zip(ranks, values, strict=True) if sign * value > 0]
            if points:
                fill = color if sign > 0 else "white"
                axes.plot(*zip(*points, strict=True), ls="", marker=marker, ms=5, color=color, mfc=fill, mew=1.2)
        below += sum(value < 0 for value in values)
        zero += sum(value == 0 for value in values)
        if len(spectra) > 1:
            handles.append(Line2D([], [], ls="", marker="o", ms=5, color=color, label=plain(label)))
    if below:
        handles.append(Line2D([], [], ls="", marker="v", ms=5, color=INK, mfc="white", label="below zero"))
    if zero:
        handles.append(Line2D([], [], ls="", label=f"{zero} zero, not drawn"))
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    one = "" if len(spectra) > 1 else f": {next(iter(spectra))}"
    headline = f"Eigenvalues of the Hessian of the loss{one}"
    if handles:
        legend(figure, handles, headline=headline)
    else:
        axes.set_title(plain(headline), loc="left", fontsize=11.5, weight="bold", color=INK)
    return figure


def _colors(count: int) -> list[str]:
    return [COLORS[k % len(COLORS)] for k in range(count)]


def plot_spectra_side_by_side(columns: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Figure:
    """Spectra by rank on one logarithmic axis, a panel a design; negative eigenvalues as hollow triangles.

    Args:
        columns: {title: {label: spectra of the networks}}, such as {"human": {"trained": [seed 0, seed 1]}}.
    """
    labels = list(dict.fromkeys(label for found in columns.values() for label in found))
    across = min(len(columns), MOST_ACROSS)
    down = -(-len(columns) // across)
    figure = Figure(figsize=(WIDTH, 1.2 + 3.0 * down), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    below = False
    for panel in panels.flat[len(columns) :]:
        panel.set_visible(False)
    for number, ((title, found), panel) in enumerate(zip(columns.items(), panels.flat, strict=False)):
        last = number + across >= len(columns)
        styled(panel, "rank" if last else "", "eigenvalue, by magnitude" if number % across == 0 else "")
        panel.tick_params(labelbottom=last)
        panel.set_title(plain(short(title, 76 // across)), fontsize=NORMAL, color=INK, weight="bold")
        panel.set_yscale("log")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for label, spectra in found.items():
            color = COLORS[labels.index(label) % len(COLORS)]
            for values in spectra:
                for sign, marker in ((1, "o"), (-1, "v")):
                    points = [(rank, sign * value) for rank, value in enumerate(values, 1) if sign * value > 0]
                    if points:
                        fill = color if sign > 0 else "white"
                        panel.plot(*zip(*points, strict=True), ls="", marker=marker, ms=3.5, color=color, mfc=fill)
                below |= any(value < 0 for value in values)
    handles: list[Artist] = [
        Line2D([], [], ls="", marker="o", ms=5, color=COLORS[k % len(COLORS)], label=plain(label))
        for k, label in enumerate(labels)
    ]
    if below:
        handles.append(Line2D([], [], ls="", marker="v", ms=5, color=INK, mfc="white", label="below zero"))
    legend(figure, handles, headline="Largest eigenvalues of the Hessian of the loss")
    return figure
