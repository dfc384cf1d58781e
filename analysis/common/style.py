"""Shared plot style: colours, font sizes, axes, legends, text that fits, PNG output.

Figures are 9 inches wide and meant to be shown at 900 pixels, where one point is about 1.4 pixels. None of them touches
matplotlib's global state.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "FAINT",
    "INK",
    "LARGE",
    "NORMAL",
    "SMALL",
    "WIDTH",
    "distinct",
    "legend",
    "path_end",
    "plain",
    "short",
    "styled",
    "to_files",
    "to_png",
]

INK, FAINT = "#1a1a1a", "#8a8a8a"
WIDTH = 9.0
SMALL, NORMAL, LARGE = 9.5, 10.5, 11.5


def to_png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as PNG bytes, identical for identical figures."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=dpi, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_files(figure: Figure, name: str, *, vector: bool = False) -> dict[str, bytes]:
    """The files of a figure, identical for identical figures: name.png and, if wanted, name.svg with text as text."""
    files = {}
    if vector:  # first, so that the figure is left laid out as in the PNG file
        buffer = io.StringIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
        files[f"{name}.svg"] = buffer.getvalue().encode()
    return {f"{name}.png": to_png(figure)} | files


def styled(axes: Axes, x: str, y: str, title: str = "") -> Axes:
    """The axes with labels, title, grid and colours set."""
    axes.set_xlabel(x, fontsize=NORMAL, color=INK)
    axes.set_ylabel(y, fontsize=NORMAL, color=INK)
    if title:
        axes.set_title(plain(title), fontsize=NORMAL, color=INK)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.grid(color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    return axes


def legend(figure: Figure, handles: Sequence[Artist], *, headline: str = "") -> None:
    """Put a legend above the axes, in as few rows as fit the width, and above it the headline of the figure."""
    # A letter takes about 0.085 inches, each handle 0.6. A column is as wide as its longest label.
    widths = [0.085 * len(str(handle.get_label())) + 0.6 for handle in handles]
    columns = next((n for n in range(len(widths), 1, -1) if _width(widths, n) <= WIDTH), 1)
    figure.legend(
        handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=NORMAL, columnspacing=1.5,
        title=plain(headline) if headline else None, title_fontproperties={"size": LARGE, "weight": "bold"},
        alignment="left",
    )  # fmt: skip


def _width(widths: Sequence[float], columns: int) -> float:
    """The width of entries in so many columns, filled one after the other, the first ones with one entry more."""
    rows, more = divmod(len(widths), columns)
    starts = [k * rows + min(k, more) for k in range(columns + 1)]
    return sum(max(widths[a:b]) for a, b in pairwise(starts))


def plain(text: str) -> str:
    """`text` escaped so that matplotlib shows it literally, dollar signs and leading underscores included."""
    escaped = text.replace("$", r"\$")
    return "\u200a" + escaped if escaped.startswith("_") else escaped


def short(text: str, most: int) -> str:
    """`text` with its middle elided if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    keep = most - 1
    return text[: keep // 3] + "…" + text[len(text) - (keep - keep // 3) :]


def path_end(path: str, most: int) -> str:
    """The last parts of a module's path, as many as fit into `most` characters."""
    if len(path) <= most:
        return path
    parts = path.split(".")
    while len(parts) > 1 and len(".".join(parts)) > most - 1:
        parts = parts[1:]
    return "…" + short(".".join(parts), most - 1)


def distinct(names: Sequence[str]) -> list[str]:
    """The module paths without the suffix that all but 'input' share, such as '.conv_dw'."""
    paths = [name.split(".") for name in names if name != "input"]
    shared = 0
    while len(paths) > 1 and all(
        len(path) > shared + 1 and path[-1 - shared] == paths[0][-1 - shared] for path in paths
    ):
        shared += 1
    return [name if name == "input" or not shared else ".".join(name.split(".")[:-shared]) for name in names]
