"""Writes the receptive-field report of a model to a folder: data and plots."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import nn

from ..common.atomic_files import write_whole
from ..common.json_text import strict_json
from ..common.style import to_files
from ..comparison import Run
from ..comparison.plots import plot_alphas, plot_i_min, plot_sizes
from .effective import effective_receptive_field
from .receptive_field import ReceptiveFieldReport
from .text import verdict

__all__ = ["write_analysis"]

RENDERING_SECONDS = 120  # Graphviz is slow on networks of thousands of edges

logger = logging.getLogger(__name__)


def write_analysis(
    model: nn.Module,
    report: ReceptiveFieldReport,
    out: Path,
    *,
    name: str = "",
    layers: Sequence[str] | None = None,
    image: Path | None = None,
    effective: bool = False,
    run: Run | None = None,
    vector: bool = False,
) -> list[Path]:
    """Write the report and plots of it to a folder, and return the paths of the files.

    Files: report.json (an infinite field is the string "inf"), layers.csv, fields.png, network.png, network.dot and, if
    Graphviz is installed, network.svg; for two spatial axes image.png; with `effective`, effective.json and, for up to
    two axes, effective.png; with `run`, i_min.png, sizes.png and, if the run learns its sizes, alphas.png.

    Args:
        model: the model; its weights matter only to `effective`.
        report: its receptive fields.
        out: the folder, created if it does not exist.
        name: the model's name in report.json.
        layers: names of the layers drawn on the image, the first of which is used for `effective`; default: layers of
            different field sizes.
        image: the image to draw on.
        effective: whether to measure the effective receptive field.
        run: the training run that the model comes from.
        vector: write the plots as SVG, too; network.svg is then the plot, not Graphviz's.

    Raises:
        ValueError: for an unknown layer or an unreadable image; nothing is written then.
        OSError: if `out` cannot be written.
    """
    texts = {"report.json": strict_json({"model": name, "verdict": verdict(report), **report.to_dict()})}
    texts["layers.csv"] = report.to_csv()
    figures: dict[str, Figure] = {"fields": report.plot("fields"), "network": report.plot("network")}
    texts["network.dot"] = report.to_dot()
    if len(report.input_size) == 3:
        figures["image"] = report.plot("image", layers=layers, image=image)
    if effective:
        field = effective_receptive_field(model, report.input_size, layer=layers[0] if layers else None)
        texts["effective.json"] = strict_json(field.to_dict())
        if field.gradient.ndim < 3:
            figures["effective"] = field.plot()
    if run is not None:
        figures |= {"i_min": plot_i_min([run]), "sizes": plot_sizes([run])}
        if run.last.alphas:
            figures["alphas"] = plot_alphas([run])
    contents = {file: text.encode() for file, text in texts.items()}
    for file, figure in figures.items():
        contents |= to_files(figure, file, vector=vector)
    out.mkdir(parents=True, exist_ok=True)
    for file, data in contents.items():
        write_whole(out / file, data)
    written = [out / file for file in contents]
    return written if vector else written + _render(out / "network.dot")


def _render(dot: Path) -> list[Path]:
    """The path of the graph as SVG, if Graphviz is installed and can render it."""
    program = shutil.which("dot")
    if program is None:
        return []
    command = [program, "-Tsvg", str(dot), "-o", str(dot.with_suffix(".svg"))]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=RENDERING_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        message = getattr(error, "stderr", None) or error
        logger.warning("%s was not rendered: %s", dot.with_suffix(".svg").name, str(message).strip())
        return []
    return [dot.with_suffix(".svg")]
