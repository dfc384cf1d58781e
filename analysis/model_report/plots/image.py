"""Plot of receptive fields on an image, to scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray
from PIL import Image

from dynpool.common.extras import optional
from dynpool.common.names import nearest

from ...common.colors import DYNOPOOL, HUMAN, OTHERS
from ...common.statistics import format_field
from ...common.style import INK, SMALL, WIDTH, path_end, plain, styled
from .marks import centre_unit

if TYPE_CHECKING:
    from ...fields import FieldReport, LayerRow

__all__ = ["MOST_LAYERS", "plot_on_image", "read_picture"]

COLORS = (DYNOPOOL, "#56B4E9", "#F0E442", OTHERS[0], OTHERS[1], HUMAN)
MOST_LAYERS = len(COLORS)
LARGEST = 4096  # pixels of the longer side of a drawn image; a page shows fewer
ROOM = (6.4, 5.9)  # available height and width in inches
SURROUNDINGS = 0.75  # at most this many image sizes are shown beyond each border

ImageLike = str | Path | NDArray
Box = tuple[float, float, float, float]  # first and last pixel along the height, then along the width


def plot_on_image(
    report: FieldReport, *, layers: Sequence[str] | None = None, image: ImageLike | None = None
) -> Figure:
    """The receptive fields of the centre units of some layers on an image, to scale with its pixels.

    Solid: the field of the longest path (r_max) at its exact position, if finite. Dashed: that of the shortest path
    (r_min), centred on the unit. Fields that extend beyond the image cover padding.

    Args:
        report: of a model with two spatial axes.
        layers: names of rows of the report, at most six; default: up to four with fields from small to large.
        image: path of an image file, or an array of shape (H, W), (H, W, 3) or (H, W, 4), with uint8 values or floats
            from 0 to 1; it is scaled to the input size. Default: a photograph that comes with scikit-learn.

    Raises:
        TypeError: if `layers` is not a list of names.
        ValueError: for a model of another number of spatial axes, an unknown layer, or an unreadable image.
    """
    if len(report.input_size) != 3:
        raise ValueError(
            f"fields can be drawn on an image for 2 spatial axes only, this model has {len(report.input_size) - 1}"
        )
    height, width = report.input_size[1:]
    rows = chosen_layers(report, layers)
    figure = Figure()
    axes = styled(figure.add_axes((0, 0, 1, 1)), "width (pixels)", "height (pixels)")
    axes.grid(visible=False)
    axes.set_facecolor("#f2f2f2")
    axes.imshow(_pixels(image, height, width), extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
    handles, boxes = [], [(0.0, height - 1.0, 0.0, width - 1.0)]
    for row, color in zip(rows, COLORS, strict=False):
        long, small = _longest_path_box(row), _shortest_path_box(row, (height, width))
        for box, style in ((long, "-"), (small, (0, (4, 2)))):
            if box is not None and not (style != "-" and long is not None and row.r_min == row.r_max):
                y0, y1, x0, x1 = box
                shape = Rectangle(
                    (x0 - 0.5, y0 - 0.5), x1 - x0 + 1, y1 - y0 + 1, fill=False, ec=color, lw=2.2, ls=style,
                    path_effects=[Stroke(linewidth=3.6, foreground=INK), Normal()],
                )  # fmt: skip
                axes.add_patch(shape)
                boxes.append(box)
        handles.append(Line2D([], [], color=color, lw=2.2, label=plain(_legend_text(row))))
    shown = []
    for axis, extent in ((0, height), (1, width)):
        first = max(min(box[2 * axis] for box in boxes), -SURROUNDINGS * extent)
        last = min(max(box[2 * axis + 1] for box in boxes), (1 + SURROUNDINGS) * extent)
        room = 0.03 * (last - first) + 0.5
        limits = (first - room, last + room)
        axes.set_xlim(*limits) if axis else axes.set_ylim(*reversed(limits))
        shown.append(limits[1] - limits[0])
    scale = min(ROOM[0] / shown[0], ROOM[1] / shown[1])  # inches per pixel
    tall, wide = scale * shown[0], scale * shown[1]
    total = max(tall + 0.75, 0.5 + 0.4 * (len(handles) + 1))
    figure.set_size_inches(WIDTH, total)
    axes.set_position((0.75 / WIDTH, 1 - (tall + 0.15) / total, wide / WIDTH, tall / total))
    handles.append(Line2D([], [], color=INK, lw=1.6, label="solid: longest path"))
    handles.append(Line2D([], [], color=INK, lw=1.6, ls=(0, (4, 2)), label="dashed: shortest path"))
    corner = ((0.75 + wide + 0.1) / WIDTH, 1 - 0.1 / total)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, frameon=False, fontsize=SMALL)
    return figure


def chosen_layers(report: FieldReport, layers: Sequence[str] | None) -> list[LayerRow]:
    """The rows of the named layers; None: of a few of different field sizes.

    Raises:
        TypeError: if `layers` is not a list of names.
        ValueError: for an unknown layer, or too many of them.
    """
    by_name = {row.name: row for row in report.layers}
    if layers is not None:
        if isinstance(layers, str) or not isinstance(layers, Sequence):
            raise TypeError(f"layers must be a list of names, got {layers!r}")
        for name in layers:
            if name not in by_name:
                raise ValueError(f"layers has {name!r}: the model has no such layer{nearest(str(name), by_name)}")
        if not 0 < len(layers) <= MOST_LAYERS:
            raise ValueError(f"layers must name one to {MOST_LAYERS} layers, got {len(layers)}")
        return [by_name[name] for name in layers]
    # The first layers whose r_min reaches a quarter, a half, the whole and twice the smaller side of the image.
    side = min(report.input_size[1:])
    finite = [row for row in report.layers if all(map(math.isfinite, row.r_min))]
    wanted = [next((row for row in finite if min(row.r_min) >= part * side), None) for part in (0.25, 0.5, 1, 2)]
    found = list(dict.fromkeys(row.name for row in wanted if row is not None))
    return [by_name[name] for name in found] or finite[-1:]


def _longest_path_box(row: LayerRow) -> Box | None:
    (y0, y1), (x0, x1) = row.region(centre_unit(row))
    return (y0, y1, x0, x1) if all(map(math.isfinite, (y0, y1, x0, x1))) else None


def _shortest_path_box(row: LayerRow, size: Sequence[int]) -> Box | None:
    if not all(map(math.isfinite, row.r_min)):
        return None
    ends = []
    for axis, position in enumerate(centre_unit(row)):
        middle = row.centre[axis] + row.effective_stride[axis] * position
        if math.isinf(row.r_max[axis]):  # there is no centre: scale the unit's position to the image
            middle = (position + 0.5) * size[axis] / row.shape[axis - 2] - 0.5
        reach = (row.r_min[axis] - 1) / 2
        ends += [middle - reach, middle + reach]
    return (ends[0], ends[1], ends[2], ends[3])


def _legend_text(row: LayerRow) -> str:
    low, high = ("×".join(map(format_field, values)).replace("∞×∞", "∞") for values in (row.r_min, row.r_max_local))
    return f"{path_end(row.name, 30)}\n{low}" + (f" to {high}" if high != low else "") + "*" * row.has_global_path


def read_picture(path: str | Path) -> Image.Image:
    """A picture file in RGB. Raises ValueError if it cannot be read."""
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise ValueError(f"image is {str(path)!r}, which cannot be read: {error}") from None


def _pixels(image: ImageLike | None, height: int, width: int) -> NDArray:
    """The image as (height, width, 3) uint8, cropped at its centre to the input's aspect ratio and scaled.

    It is scaled down further if a side of the input is above `LARGEST` pixels.
    """
    shrunk = max(height, width, LARGEST) / LARGEST
    height, width = max(round(height / shrunk), 1), max(round(width / shrunk), 1)
    if image is None:
        with optional():
            from sklearn.datasets import load_sample_image  # a second to import, so only when needed

        image = load_sample_image("china.jpg")
    if isinstance(image, (str, Path)):
        picture = read_picture(image)
    else:
        values = np.asarray(image)
        if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
            raise ValueError(f"image must have the shape (H, W), (H, W, 3) or (H, W, 4), got {values.shape}")
        values = values if values.dtype == np.uint8 else np.clip(255 * values.astype(float), 0, 255).astype(np.uint8)
        picture = Image.fromarray(values).convert("RGB")
    scale = min(picture.width / width, picture.height / height)
    w, h = width * scale, height * scale
    left, upper = (picture.width - w) / 2, (picture.height - h) / 2
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, (left, upper, left + w, upper + h)))
