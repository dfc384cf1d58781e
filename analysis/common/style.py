"""What all pictures share: colours, sizes of type, axes, legends, and the bytes of a PNG file.

Figures are 9 inches wide and meant to be shown at 900 pixels, where a point of type is about 1.4 pixels high. No
picture touches matplotlib's global state.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

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
    "legend",
    "path_end",
    "plain",
    "short",
    "styled",
    "to_png",
]

INK, FAINT = "#1a1a1a", "#8a8a8a"
WIDTH = 9.0
SMALL, NORMAL, LARGE = 9.5, 10.5, 11.5


def to_png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as the bytes of a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=dpi, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def styled(axes: Axes, x: str, y: str, title: str = "") -> Axes:
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


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    # One line if it fits in the width (about 0.085 inches a letter, 0.6 for each sign), else two.
    length = sum(0.085 * len(str(handle.get_label())) + 0.6 for handle in handles)
    columns = math.ceil(len(handles) / math.ceil(length / WIDTH))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=NORMAL, columnspacing=1.5
    )


def plain(text: str) -> str:
    """`text` as matplotlib shows it literally: a dollar sign starts no formula, a leading underscore hides no label."""
    escaped = text.replace("$", r"\$")
    return "\u200a" + escaped if escaped.startswith("_") else escaped


def short(text: str, most: int) -> str:
    """`text`, its middle left out if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    keep = most - 1
    return text[: keep // 3] + "…" + text[len(text) - (keep - keep // 3) :]


def path_end(path: str, most: int) -> str:
    """As many of the last parts of a module's path as fit into `most` characters."""
    if len(path) <= most:
        return path
    parts = path.split(".")
    while len(parts) > 1 and len(".".join(parts)) > most - 1:
        parts = parts[1:]
    return "…" + short(".".join(parts), most - 1)
