"""The report of `cka`: a matrix, plain data, a plot, files."""

from __future__ import annotations

import math
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dynpool.common.names import nearest

from ..common.statistics import plural
from .report_files import write_files
from .similarity_plot import plot_similarity

__all__ = ["CKAReport"]


@dataclass(frozen=True)
class CKAReport:
    """The result of `cka`. `str()` prints a table, `to_dict()` gives plain data, `plot()` draws the matrix.

    Attributes:
        model_a, model_b: the models' classes.
        input_size: (C, H, W) of the inputs in pixels.
        layers_a, layers_b: names of the layers, in order of execution.
        values: CKA of each layer of model_a (rows) with each of model_b (columns); NaN if one of them is constant.
        images, batches: how many images, in how many batches, the values are from.
        pooled: whether features are means of channels over all positions.
        unbiased: whether values are from unbiased estimates, averaged over batches.
        border_layer_a, border_layer_b: the border layer at this input size; None if there is none, or if the receptive
            fields are unknown, as a notice then says.
        border_a, border_b: index of the first compared layer from the border layer on; None if there is none.
        memory: bytes that the sums took.
        notices: what a reader should know of these values.
    """

    model_a: str
    model_b: str
    input_size: tuple[int, ...]
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    images: int
    batches: int
    pooled: bool
    unbiased: bool
    border_layer_a: str | None
    border_layer_b: str | None
    border_a: int | None
    border_b: int | None
    memory: int
    notices: tuple[str, ...]

    def similarity(self, layer_a: str, layer_b: str | None = None) -> float:
        """CKA of a layer of model_a with one of model_b, by default with the one of the same name.

        Raises:
            ValueError: for a layer that was not compared.
        """
        wanted = layer_a if layer_b is None else layer_b
        for argument, name, known in (("layer_a", layer_a, self.layers_a), ("layer_b", wanted, self.layers_b)):
            if name not in known:
                raise ValueError(f"{argument}={name!r} was not compared{nearest(str(name), known)}")
        return self.values[self.layers_a.index(layer_a)][self.layers_b.index(wanted)]

    @property
    def verdict(self) -> str:
        """Mean similarity of layers of the same name, before and from the border layer on, in one sentence."""
        same = {k: self.similarity(name) for k, name in enumerate(self.layers_a) if name in self.layers_b}
        known = {k: value for k, value in same.items() if math.isfinite(value)}
        if not known:
            return "there are no layers of the same name to compare"
        said = f"layers of the same name have a CKA of {statistics.fmean(known.values()):.3f} on average"
        before = [value for k, value in known.items() if self.border_a is not None and k < self.border_a]
        behind = [value for k, value in known.items() if self.border_a is not None and k >= self.border_a]
        if not before or not behind:
            return said
        return (
            f"{said}: {statistics.fmean(before):.3f} before the border layer {self.border_layer_a}, "
            f"{statistics.fmean(behind):.3f} from it on"
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data; NaN stays so."""
        return {
            "model_a": self.model_a,
            "model_b": self.model_b,
            "input_size": list(self.input_size),
            "layers_a": list(self.layers_a),
            "layers_b": list(self.layers_b),
            "values": [list(row) for row in self.values],
            "images": self.images,
            "batches": self.batches,
            "pooled": self.pooled,
            "unbiased": self.unbiased,
            "border_layer_a": self.border_layer_a,
            "border_layer_b": self.border_layer_b,
            "border_a": self.border_a,
            "border_b": self.border_b,
            "memory": self.memory,
            "verdict": self.verdict,
            "notices": list(self.notices),
        }

    def __str__(self) -> str:
        width = max(len("layer of a"), *map(len, self.layers_a))
        other = max(len("most similar of b"), *map(len, self.layers_b))
        lines = [f"{'layer of a':<{width}}  {'same name':>9}  {'most similar of b':<{other}}    cka"]
        for index, (name, row) in enumerate(zip(self.layers_a, self.values, strict=True)):
            same = _number(self.similarity(name)) if name in self.layers_b else "-"
            known = {layer: value for layer, value in zip(self.layers_b, row, strict=True) if math.isfinite(value)}
            best = max(known, key=known.__getitem__, default="-")
            behind = "  from the border layer on" if self.border_a is not None and index >= self.border_a else ""
            lines.append(f"{name:<{width}}  {same:>9}  {best:<{other}}  {_number(known.get(best)):>5}{behind}")
        features = "channel means" if self.pooled else "channels at all positions"
        estimate = "unbiased, averaged over" if self.unbiased else "over all images of"
        batches = "1 batch" if self.batches == 1 else f"{self.batches} batches"
        lines.append(f"linear CKA of {features}, {estimate} {batches}, {plural(self.images, 'image')}")
        lines.append(self.verdict[0].upper() + self.verdict[1:])
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def plot(self) -> Figure:
        """The matrix of values, model_a along y and model_b along x, with lines where the border layers are."""
        return plot_similarity(
            self.layers_a, self.layers_b, self.values, (self.border_a, self.border_b), (self.model_a, self.model_b)
        )

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write cka.json, cka.csv (the matrix) and cka.png to a folder, and return their paths.

        Args:
            folder: created if it does not exist.

        Raises:
            OSError: if it cannot be written.
        """
        table: list[list[object]] = [
            ["layer", *self.layers_b],
            *([a, *row] for a, row in zip(self.layers_a, self.values, strict=True)),
        ]
        return write_files(folder, "cka", self.to_dict(), table, self.plot())


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
