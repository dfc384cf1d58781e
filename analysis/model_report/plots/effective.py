"""Plot of the effective receptive field."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ...common.axis_names import axis_names
from ...common.style import FAINT, INK, SMALL, WIDTH, legend, path_end, plain, styled

__all__ = ["plot_effective"]


class Measured(Protocol):
    """The attributes of an :class:`~dynpool.analysis.EffectiveField` that the plot uses."""

    @property
    def gradient(self) -> NDArray[np.float64]: ...
    @property
    def projection(self) -> tuple[NDArray[np.float64], ...]: ...
    @property
    def region(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def layer(self) -> str: ...
    @property
    def size(self) -> float: ...


FIELD, OUTLINE = "magma", "#56B4E9"  # an outline that contrasts with every colour of the map


def plot_effective(field: Measured) -> Figure:
    """The gradient as an image with the theoretical field outlined, and its projection onto each axis.

    Raises:
        ValueError: for three spatial axes.
    """
    if field.gradient.ndim > 2:
        raise ValueError(
            f"an effective field can be plotted for 1 or 2 spatial axes, this one has {field.gradient.ndim}"
        )
    figure = Figure(figsize=(WIDTH, 4.2 if field.gradient.ndim == 2 else 3.4), layout="constrained")
    panels = list(
        figure.subplots(1, field.gradient.ndim + 1, squeeze=False, width_ratios=_WIDTHS[field.gradient.ndim])[0]
    )
    if field.gradient.ndim == 2:
        _map(figure, panels[0], field)
    else:
        panels.pop().remove()
    names = axis_names(field.gradient.ndim)
    for axis, panel in enumerate(panels[-field.gradient.ndim :]):
        styled(panel, f"pixel along the {names[axis]}", "projected gradient" if axis == 0 else "")
        panel.plot(field.projection[axis], color=INK, lw=1.4)
        panel.set_xlim(-0.5, len(field.projection[axis]) - 0.5)
        panel.set_ylim(bottom=0)
        panel.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        for end in _inside(field.region[axis], len(field.projection[axis])):
            panel.axvline(end, color=OUTLINE, lw=1.6, ls=(0, (4, 2)))
    sides = "×".join("the whole axis" if not math.isfinite(b - a) else f"{b - a + 1:g}" for a, b in field.region)
    title = Line2D(
        [], [], ls="", label=plain(f"{path_end(field.layer, 40)}: effective field {field.size:.1f} pixels per side")
    )
    outline = Line2D([], [], color=OUTLINE, lw=1.6, ls=(0, (4, 2)), label=f"theoretical field, {sides} pixels")
    legend(figure, [title, outline])
    return figure


_WIDTHS = {1: (1.0, 0.01), 2: (1.25, 1.0, 1.0)}


def _map(figure: Figure, axes: Axes, field: Measured) -> None:
    height, width = field.gradient.shape
    top = float(field.gradient.max()) or 1.0
    # On a linear scale the tails of a Gaussian would be nearly black.
    picture = axes.imshow(field.gradient / top, cmap=FIELD, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    (y0, y1), (x0, x1) = (
        (max(a, -0.5 * n), min(b, 1.5 * n)) for (a, b), n in zip(field.region, (height, width), strict=True)
    )
    axes.add_patch(
        Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0 + 1, y1 - y0 + 1, fill=False, ec=OUTLINE, lw=1.8, ls=(0, (4, 2)))
    )
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    styled(axes, "width (pixels)", "height (pixels)")
    axes.grid(visible=False)
    bar = figure.colorbar(picture, ax=axes, location="bottom", fraction=0.05, ticks=np.array([0, 0.05, 0.25, 0.5, 1]))
    bar.set_label("gradient / its maximum (square-root scale)", fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=FAINT)


def _inside(ends: tuple[float, float], extent: int) -> list[float]:
    """The two edges of the theoretical field that lie inside the image."""
    return [edge for edge in (ends[0] - 0.5, ends[1] + 0.5) if -0.5 < edge < extent - 0.5]
