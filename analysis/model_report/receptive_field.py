"""`receptive_field` and its report: tables, plots, and a graph for Graphviz."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dynpool.common.extras import optional
from dynpool.graph import InputSize

from ..fields import FieldReport
from .columns import COLUMNS
from .plots.dot import to_dot
from .report_table import ReportTable
from .text import layer_table, module_table, operator_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["ReceptiveFieldReport", "receptive_field"]


@dataclass(frozen=True)
class ReceptiveFieldReport(FieldReport):
    """The result of `receptive_field`: `str()` and notebooks show a table of the layers, `plot()` draws them.

    `table()` is the table of all modules, `by_operator()` that of all operations; `to_dict()`, `to_csv()` and
    `to_frame()` give data.
    """

    def __str__(self) -> str:
        return str(layer_table(self))

    def _repr_html_(self) -> str:
        return layer_table(self)._repr_html_()

    def table(self, depth: int | None = None, columns: Sequence[str] | None = None) -> ReportTable:
        """A table of the layers or, with `depth`, of all modules.

        Args:
            depth: None: one row per layer, as `str()` prints. Else the model and its modules down to so many levels
                below it, each with everything that runs in it; 0 is the model alone.
            columns: of "kind", "calls", "kernel", "stride", "r_min", "r_max", "r_max_local", "varies" (whether r_max
                does, by position), "effective_stride", "effective_padding", "centre", "input" and "output" (shapes
                without the batch), "macs" (for one image), "parameters", and in bytes, for the whole batch, "weights",
                "activations" (made there) and "peak" (held at once while it runs); "aligned".

        Raises:
            ValueError: for an unknown column or a negative depth.
        """
        return layer_table(self, columns) if depth is None else module_table(self, depth, columns)

    def by_operator(self) -> ReportTable:
        """A table of all operations that ran, those that are no layers included: calls, MACs, activations, peak."""
        return operator_table(self)

    def to_csv(self, path: str | Path | None = None) -> str:
        """CSV of the layers with a column per quantity and axis (r_min_height, ...); written to `path` if given."""
        return layer_table(self, tuple(COLUMNS)).to_csv(path)

    def to_frame(self) -> DataFrame:
        """What `to_csv` writes, as a data frame of pandas."""
        return layer_table(self, tuple(COLUMNS)).to_frame()

    def plot(self, kind: str = "fields", **options: Any) -> Figure:
        """A plot of the report.

        Args:
            kind: "fields": r_min and r_max of every layer against I_res; "network": the graph of the layers,
                unproductive ones red and underutilized ones orange; "image": the fields of some layers on an image, to
                scale, for models with two spatial axes.
            options: for "image": `layers` and `image`, see `dynpool.analysis.model_report.plots.image.plot_on_image`.

        Raises:
            TypeError: for an option that the kind does not have.
            ValueError: for an unknown kind, or a report that this kind cannot show.
        """
        with optional():
            from .plots.kinds import plot_report
        return plot_report(self, kind, options)

    def to_dot(self) -> str:
        """The graph of the layers as text for Graphviz, unproductive layers red and underutilized ones orange."""
        return to_dot(self)


def receptive_field(
    model: nn.Module,
    input_size: InputSize | None = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: torch.dtype | None = None,
) -> ReceptiveFieldReport:
    """Receptive fields of all layers of a model, its I_min and I_max, and its unproductive and underutilized layers.

    A converted model is analysed at the sizes that its alphas give now. The kernel of a resizer is its footprint in
    pixels and its stride is the real number input / output, so fields may be fractional.

    Args:
        model: any module; it is traced on meta tensors in eval mode and left unchanged.
        input_size: (C, H, W) in pixels; or (C, L) or (C, D, H, W). The part after C is I_res, with which fields are
            compared. For a model with several inputs, a list or dict of these: fields are those in the first input and
            in all others of its extents. None: the size of the first tensor in `inputs`.
        inputs: the arguments of the model's forward (a tensor, a tuple or a dict), if sizes are not enough. Values do
            not matter.
        batch: batch size of the traced pass, if one image is not enough. MACs are those of one image, bytes those of
            the batch.
        dtype: of the inputs made from `input_size`, such as torch.long for indices; default: that of the weights. There
            is no device to choose, as no tensor is on one.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a bad `input_size`, `inputs` or `dtype`, or when the model cannot run on them.

    Example:
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> report = receptive_field(vgg, (3, 32, 32))
        >>> report.i_min, [row.r_min[0] for row in report.layers]
        ((8.0, 8.0), [3.0, 4.0, 8.0])
    """
    return ReceptiveFieldReport.of(model, input_size, inputs=inputs, batch=batch, dtype=dtype)
