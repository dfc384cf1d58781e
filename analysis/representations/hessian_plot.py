"""The plot of Hessian spectra: eigenvalues by rank on one logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..common.style import INK, WIDTH, legend, plain, styled

__all__ = ["plot_spectra"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


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
