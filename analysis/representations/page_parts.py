"""Parts of the HTML page of inspected networks: pictures, tables, words."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from ..common.axis_names import one_or_all
from ..common.statistics import format_field
from ..common.style import to_png
from .report import InspectionReport
from .row import InspectionRow
from .seed_summary import SeedSummary, said_layers

__all__ = ["image", "network_section", "notes", "summary_table", "words"]

WORDS = (
    ("probe", "held-out accuracy of a logistic regression on the layer's activations, averaged to 4x4 cells"),
    ("relative", "accuracy of the probe / accuracy of the network"),
    ("saturation", "directions that hold 99 % of the variance of the layer's activations (or the share in the JSON "
     "file) / number of channels"),
    ("r_min, r_max", "receptive field of the layer's output along the shortest path, and along the longest one that is "
     "not global, in pixels of the image"),
    ("unproductive", "the layer's input already sees the whole image along the shortest path: what it adds is no new "
     "context"),
    ("tail", "layers after the first one from which on the relative accuracy is at most a tolerance below the last "
     "layer's: they add nothing to the solution"),
    ("saturation stays low", "from this layer on it is at most half of the highest of the network's layers"),
)  # fmt: skip


def words() -> str:
    """The meaning of the page's words."""
    return "<h2>Words</h2><dl>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in WORDS) + "</dl>"


def image(data: bytes, alt: str, caption: str, *, width: int | None = None) -> str:
    """A PNG in the page.

    Args:
        data: of the file.
        alt: what it shows.
        caption: below it.
        width: in pixels of the page at most.
    """
    source = base64.b64encode(data).decode()
    picture = f'<img src="data:image/png;base64,{source}" alt="{escape(alt)}">'
    narrow = "" if width is None else f' style="max-width: {width}px"'
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure{narrow}>{picture}{below}</figure>"


def notes(sentences: Sequence[str]) -> str:
    """A box of notes; empty without any."""
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in sentences)
    return f'<div class="notes"><strong>Notes</strong><ul>{items}</ul></div>'


def summary_table(summaries: Sequence[SeedSummary]) -> str:
    """A row per design: accuracy, predicted and observed tails, and where the saturation stays low, over its seeds."""
    head = ("", "seeds", "accuracy", "layers", "predicted tail", "observed tail", "saturation stays low in the last")
    lines = []
    for found in summaries:
        accuracy = "-" if found.accuracy is None else f"{found.accuracy.show(1, 100)} %".replace(" ± - %", " %")
        tails = (said_layers(figure, found.count) for figure in (found.predicted, found.observed, found.saturated))
        lines.append((found.name, str(len(found.networks)), accuracy, str(found.count), *tails))
    said = (
        "Accuracy: mean ± deviation over seeds. Tails: mean number of layers, with the 95 % interval of it (Student's "
        "t) where seeds differ; a network whose saturation does not stay low counts as 0 layers."
    )
    return f'{_table(head, lines)}<p class="key">{escape(said)}</p>'


def network_section(name: str, report: InspectionReport, *, folded: bool) -> str:
    """The table of a network, its notes and heat maps.

    Args:
        name: of the network.
        report: of it.
        folded: whether the reader opens it.
    """
    head = ("layer", "kind", "output", "r_min", "r_max", "probe", "relative", "saturation", "")
    table = _table(head, [_line(row, report) for row in report.rows])
    accuracy = "" if report.accuracy is None else f"<p>Accuracy of the network: {100 * report.accuracy:.1f} %</p>"
    maps = "".join(
        image(to_png(figure), "Accuracy of a probe at each position", "Accuracy of a probe at each position of a map.")
        for title, figure in report.plot().items()
        if title == "heatmaps"
    )
    inside = f"{accuracy}{notes(report.notices)}{table}{maps}"
    if not folded:
        return f"<h2>{escape(name)}</h2>{inside}"
    return f"<details><summary>{escape(f'{name}: {report.verdict}')}</summary>{inside}</details>"


def _table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{escape(word)}</th>" for word in head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>'


def _line(row: InspectionRow, report: InspectionReport) -> tuple[str, ...]:
    marks = ["unproductive"] * bool(row.unproductive) + ["tail"] * (row.name in report.tail.tail)
    loose = "" if row.probe is None or row.probe.converged else " (not converged)"
    return (
        row.name,
        row.kind,
        "×".join(map(str, (row.channels, *row.size))),
        _field(row.r_min),
        _field(row.r_max_local),
        "-" if row.probe is None else f"{100 * row.probe.accuracy:.1f} %{loose}",
        "-" if row.relative is None else f"{row.relative:.3f}",
        "-" if row.saturation is None else f"{100 * row.saturation.share:.1f} %",
        ", ".join(marks),
    )


def _field(field: tuple[float, ...] | None) -> str:
    return "-" if field is None else one_or_all(tuple(format_field(value) for value in field))
