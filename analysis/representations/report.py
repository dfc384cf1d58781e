"""The report of `inspect`: a table, plain data, plots, files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..common.atomic_files import write_whole
from ..common.axis_names import axis_names, one_or_all
from ..common.json_text import strict_json
from ..common.statistics import format_field, plural
from ..common.style import to_files
from ..common.text_table import aligned
from .findings import Findings
from .plot import plot_heatmaps, plot_layers
from .row import InspectionRow

__all__ = ["InspectionReport"]

FIELDS = ("r_min_in", "r_max_in", "r_min", "r_max_local")


@dataclass(frozen=True)
class InspectionReport(Findings):
    """The result of `inspect`. `str()` prints a table, `to_dict()` gives plain data, `plot()` draws it.

    Its attributes are those of `Findings`.
    """

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data; infinite fields stay so."""
        return {
            "model": self.model,
            "input_size": list(self.input_size),
            "train_images": self.train_images,
            "test_images": self.test_images,
            "probe_images": self.probe_images,
            "accuracy": self.accuracy,
            "threshold": self.threshold,
            "verdict": self.verdict,
            "tail": self.tail.to_dict(),
            "border": self.border.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "heatmaps": [found.to_dict() for found in self.heatmaps],
            "notices": list(self.notices),
        }

    def to_csv(self) -> str:
        """CSV text with one row per layer and one column per quantity and axis; empty where there is none."""
        names = axis_names(len(self.input_size) - 1)
        text = io.StringIO(newline="")
        data = [row.to_dict() for row in self.rows]
        head = [key for key in data[0] if key not in FIELDS]
        columns = [*head, *(f"{field}_{name}" for field in FIELDS for name in names)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in data:
            size = "x".join(map(str, row["size"]))
            values = [size if key == "size" else row[key] for key in head]
            writer.writerow([*values, *(value for field in FIELDS for value in row[field] or [None] * len(names))])
        return text.getvalue()

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "r_min", "r_max", "probe", "relative", "saturation", "")
        cells = [
            (
                row.name,
                row.kind,
                "x".join(map(str, (row.channels, *row.size))),
                _field(row.r_min),
                _field(row.r_max_local),
                "-" if row.probe is None else f"{100 * row.probe.accuracy:.1f} %" + " !" * (not row.probe.converged),
                "-" if row.relative is None else f"{row.relative:.3f}",
                "-" if row.saturation is None else f"{100 * row.saturation.share:.1f} %",
                ", ".join(self._marks(row)),
            )
            for row in self.rows
        ]
        lines = aligned([head, *cells], left={0, 1, 8})
        model = "" if self.accuracy is None else f"{self.model}: {100 * self.accuracy:.1f} % of "
        lines.append(
            f"{model}{plural(self.test_images, 'held-out image')}; {plural(self.train_images, 'training image')}"
        )
        lines.append(self.verdict[0].upper() + self.verdict[1:])
        lines += self._remarks()
        return "\n".join(lines)

    def _marks(self, row: InspectionRow) -> list[str]:
        said = ["unproductive"] if row.unproductive else []
        return said + (["tail"] if row.name in self.tail.tail else [])

    def _remarks(self) -> list[str]:
        """What a reader must know to read the table."""
        said = []
        if self.tail.solved is not None:
            said.append(
                "tail: the layers after the first one from which on the relative accuracy is at most "
                f"{self.tail.tolerance:g} below that of {self.tail.layers[-1]}"
            )
            errors = [row.probe.error for row in self.rows if row.probe is not None]
            if self.accuracy and max(errors) > self.tail.tolerance * self.accuracy:
                said.append(
                    f"with {plural(self.test_images, 'held-out image')}, one accuracy has a standard error of up to "
                    f"{100 * max(errors):.1f} %, more than that tolerance: where the tail begins is uncertain"
                )
        if self.tail.low_saturation is not None:
            said.append(
                f"saturation stays at most {self.tail.low:g} times its maximum from {self.tail.low_saturation} on"
            )
        few = [row.name for row in self.rows if row.saturation is not None and row.samples <= row.channels]
        if few:
            said.append(f"fewer samples than channels, so that the saturation is too low: {', '.join(few)}")
        loose = sum(row.probe is not None and not row.probe.converged for row in self.rows)
        if loose:
            said.append(f"! {plural(loose, 'probe')} not converged: allow more iterations")
        loose = sum(found.positions - found.converged for found in self.heatmaps)
        if loose:
            said.append(f"{plural(loose, 'probe')} of heat maps not converged: allow more iterations")
        return said + list(self.notices)

    def plot(self) -> dict[str, Figure]:
        """Figures by name: "layers", and "heatmaps" if there are any.

        "layers" has probe accuracy, saturation and receptive fields of each layer on aligned panels, with I_res and the
        model's accuracy dashed, unproductive layers on red, and a dotted line where the tail begins.
        """
        figures = {"layers": plot_layers(self)}
        if self.heatmaps:
            figures["heatmaps"] = plot_heatmaps(self.heatmaps)
        return figures

    def write(self, folder: str | os.PathLike[str], *, vector: bool = False) -> list[Path]:
        """Write inspection.json, inspection.csv and a PNG of each figure to a folder, and return their paths.

        Args:
            folder: created if it does not exist.
            vector: write the figures as SVG, too.

        Raises:
            OSError: if it cannot be written.
        """
        out = Path(folder)
        contents = {"inspection.json": strict_json(self.to_dict()).encode(), "inspection.csv": self.to_csv().encode()}
        for name, figure in self.plot().items():
            contents |= to_files(figure, f"inspection-{name}", vector=vector)
        out.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            write_whole(out / name, data)
        return [out / name for name in contents]


def _field(field: Sequence[float] | None) -> str:
    return "-" if field is None else one_or_all(tuple(format_field(value) for value in field))
