"""Differences between pairs of methods with their intervals, beside the margin within which methods are equivalent."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...common.colors import HUMAN, OTHERS
from ...common.style import FAINT, INK, WIDTH, legend, plain, styled
from ..pairs import PairRow, margin_text

__all__ = ["plot_pairs"]

LINE, AROUND = 0.19, 1.1  # inches: of a line of text; of legend and labels
LETTERS = 50  # of a line at most
BAND = "#eeeeee"
STYLES = {  # of the verdicts: (marker, colour, whether it is filled); the shape says what the colour does
    "better": (">", OTHERS[0], True),
    "worse": ("<", OTHERS[7], True),
    "equivalent": ("s", HUMAN, True),
    "not decided": ("o", FAINT, False),
    "not tested": ("D", FAINT, False),
}


def plot_pairs(pairs: Mapping[str, PairRow], metric: str) -> Figure:
    """The mean difference of each pair in points with its 95 % interval, from the top down; the margin is shaded.

    Args:
        pairs: the pairs by what they are called. Those without a seed in common are left out.
        metric: what differs: 'accuracy'.

    Raises:
        ValueError: if no pair has a seed in common.
    """
    tested = {label: row.test for label, row in pairs.items() if row.test is not None}
    if not tested:
        raise ValueError("no pair has a seed in common to plot")
    names = [_lines(label) for label in tested]
    row_height = LINE * (0.6 + max(name.count("\n") + 1 for name in names))
    figure = Figure(figsize=(WIDTH, AROUND + row_height * len(names)), layout="constrained")
    axes = styled(figure.add_subplot(), f"difference in {metric} (points) and 95 % interval", "")
    verdicts = []
    for y, (label, test) in enumerate(tested.items()):
        row = pairs[label]
        verdict = _verdict(row)
        marker, color, filled = STYLES[verdict]
        verdicts.append(verdict)
        margin = 100 * row.margin
        axes.fill_betweenx([y - 0.5, y + 0.5], -margin, margin, color=BAND, lw=0, zorder=0.5)
        if test.low is not None and test.high is not None:
            axes.plot([100 * test.low, 100 * test.high], [y, y], color=color, lw=2.4, solid_capstyle="butt")
        axes.plot(100 * test.mean, y, marker, ms=9, mfc=color if filled else "white", mec=color, mew=1.6)
        axes.axhline(y + 0.5, color="#e6e6e6", lw=0.8, zorder=0.6)
    axes.axvline(0, color=INK, lw=1, zorder=0.8)
    axes.set(ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, linespacing=1.05)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    handles = [
        Line2D([], [], ls="", marker=marker, ms=9, mfc=color if filled else "white", mec=color, mew=1.6, label=verdict)
        for verdict, (marker, color, filled) in STYLES.items()
        if verdict in verdicts
    ]
    margins = dict.fromkeys(margin_text(pairs[label].margin) for label in tested)
    legend(figure, [*handles, Patch(color=BAND, label=f"within {' / '.join(margins)}")])
    return figure


def _lines(label: str) -> str:
    """The label on several lines, of which one begins with 'against'."""
    parts = label.replace(" against ", "\nagainst ").split("\n")
    return "\n".join(plain(line) for part in parts for line in textwrap.wrap(part, LETTERS))


def _verdict(row: PairRow) -> str:
    if row.detectable is None:
        return "not tested"
    if row.better is not None:
        return "better" if row.better else "worse"
    return "equivalent" if row.equivalent else "not decided"
