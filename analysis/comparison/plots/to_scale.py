"""What drawings of maps and of kernels to scale have in common: a page, the names of its rows, the outline's note."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...common.style import INK, LARGE, SMALL, WIDTH, plain, short

__all__ = ["FOOT", "HEAD", "LEFT", "least_height", "name_row", "note_outline", "page", "seeds_text", "wrapped"]

LEFT = 2.3  # inches, of the names of rows at most
HEAD = 0.42  # inches, of the names of columns
FOOT = 0.42  # inches, below the rectangles of a row
_LINE = 0.165  # inches


def page(height: float) -> tuple[Figure, Axes]:
    """A figure of `height` inches, with axes that measure inches from its upper left corner."""
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    return figure, axes


def seeds_text(seeds: Iterable[int]) -> str:
    """'seed 1', or 'seeds 0, 1, 2 …' of several different ones."""
    different = [str(seed) for seed in dict.fromkeys(seeds)]
    shown = ", ".join(different[:3]) + (" …" if len(different) > 3 else "")
    return f"seed {shown}" if len(different) == 1 else f"seeds {shown}"


def wrapped(point: str, text: str, width: float = LEFT) -> str:
    """A grid point above a text, broken into lines that are as wide as the names of rows."""
    return "\n".join([*textwrap.wrap(point, int(width / 0.079)), text])


def least_height(text: str) -> float:
    """The height in inches of a row that its text needs below the middle of the rectangles."""
    return 2 * max(0.02 + _LINE * (text.count("\n") + 1) - FOOT, 0.0) + FOOT


def name_row(axes: Axes, method: str, text: str, middle: float, color: str) -> None:
    """Write the name of a row's method, and a text below it."""
    axes.text(0.1, middle - 0.06, plain(short(method, 18)), fontsize=LARGE, weight="bold", color=color)
    axes.text(0.1, middle + 0.02, text, fontsize=SMALL, color=INK, va="top", parse_math=False)


def note_outline(axes: Axes, left: float, y: float, note: str) -> None:
    """Say what a dashed outline is."""
    axes.add_patch(Rectangle((left, y + 0.03), 0.22, 0.16, fill=False, ec=INK, lw=1.1, ls=(0, (3, 2))))
    axes.text(left + 0.3, y + 0.11, f"dashed: {note}", fontsize=SMALL, color=INK, va="center")
