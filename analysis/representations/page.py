"""The HTML page of inspected networks: inspection.html, one self-contained file."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path

from ..common.atomic_files import write_whole
from ..common.axis_names import one_or_all
from ..common.json_text import strict_json
from ..common.page_style import html_page
from ..common.statistics import format_field, plural
from ..common.style import to_png
from .agreement import Agreement, tail_agreement
from .plot import plot_side_by_side
from .report import InspectionReport
from .row import InspectionRow

__all__ = ["write_page"]

COLUMNS = 4  # of the picture; further networks have tables only
LAYERS = (
    "Layers from left to right. Red: unproductive. Dotted: where the tail begins. Dashed: the network's accuracy, and "
    "the size of the image."
)
DOTS = "A point per network: the share of its layers in the tail, as receptive fields predict it and as probes show."
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
)  # fmt: skip


def write_page(
    reports: Mapping[str, InspectionReport], out: str | os.PathLike[str], *, pictured: Mapping[str, str] | None = None
) -> Path:
    """Write inspection.html, layers.png and agreement.json for networks inspected on the same images.

    Args:
        reports: by the name of the network, at least one.
        out: the folder to write to; created if it does not exist.
        pictured: {title of a column: name of the network} of the picture; default: the first four networks.

    Returns:
        The path of inspection.html, which embeds its styles and pictures and loads nothing.

    Raises:
        ValueError: if there is no report.
        OSError: if it cannot be written.
    """
    if not reports:
        raise ValueError("reports is empty: give at least one report by the name of its network")
    columns = dict(list((pictured or {name: name for name in reports}).items())[:COLUMNS])
    layers = to_png(plot_side_by_side({title: reports[name] for title, name in columns.items()}))
    found = tail_agreement(reports)
    dots = to_png(found.plot()) if len(found.points) > 1 else None
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "layers.png", layers)
    write_whole(folder / "agreement.json", strict_json(found.to_dict()).encode())
    page = folder / "inspection.html"
    write_whole(page, _page(reports, found, layers, dots).encode())
    return page


def _page(reports: Mapping[str, InspectionReport], found: Agreement, layers: bytes, dots: bytes | None) -> str:
    title = "Which layers work" if len(reports) > 1 else f"Which layers work: {next(iter(reports))}"
    first = next(iter(reports.values()))
    sizes = dict.fromkeys("×".join(map(str, report.input_size)) for report in reports.values())
    setup = (
        f"input {' / '.join(sizes)} (channels × height × width) · {plural(first.test_images, 'held-out image')} · "
        f"{plural(first.probe_images, 'image')} for the probes"
    )
    said, verdicts = f"{first.verdict[0].upper()}{first.verdict[1:]}.", ""
    if len(reports) > 1:
        items = (f"<li>{escape(f'{name}: {report.verdict}')}</li>" for name, report in reports.items())
        said, verdicts = f"{found}.", f"<ul>{''.join(items)}</ul>"
    parts = [
        f'<p class="setup">{escape(setup)}</p>',
        f'<p class="headline">{escape(said)}</p>',
        verdicts,
        _figure(layers, "Probe accuracy, saturation and receptive field of each layer on aligned panels", LAYERS),
        "" if dots is None else _figure(dots, "Observed against predicted tails", DOTS, width=560),
        *(_section(name, report) for name, report in reports.items()),
        "<h2>Words</h2><dl>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in WORDS) + "</dl>",
    ]
    return html_page(title, parts)


def _figure(data: bytes, alt: str, caption: str, *, width: int | None = None) -> str:
    source = base64.b64encode(data).decode()
    image = f'<img src="data:image/png;base64,{source}" alt="{escape(alt)}">'
    narrow = "" if width is None else f' style="max-width: {width}px"'
    return f"<figure{narrow}>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _section(name: str, report: InspectionReport) -> str:
    head = ("layer", "kind", "output", "r_min", "r_max", "probe", "relative", "saturation", "")
    cells = "".join(f"<th>{escape(word)}</th>" for word in head)
    lines = "".join(_line(row, report) for row in report.rows)
    notes = ""
    if report.notices:
        items = "".join(f"<li>{escape(note)}</li>" for note in report.notices)
        notes = f'<div class="notes"><strong>Notes</strong><ul>{items}</ul></div>'
    accuracy = "" if report.accuracy is None else f"<p>Accuracy of the network: {100 * report.accuracy:.1f} %</p>"
    maps = "".join(
        _figure(
            to_png(figure), "Accuracy of a probe at each position", "Accuracy of a probe at each position of a map."
        )
        for title, figure in report.plot().items()
        if title == "heatmaps"
    )
    table = f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>'
    return f"<h2>{escape(name)}</h2>{accuracy}{notes}{table}{maps}"


def _line(row: InspectionRow, report: InspectionReport) -> str:
    marks = ["unproductive"] * bool(row.unproductive) + ["tail"] * (row.name in report.tail.tail)
    cells = (
        row.name,
        row.kind,
        "×".join(map(str, (row.channels, *row.size))),
        _field(row.r_min),
        _field(row.r_max_local),
        "-"
        if row.probe is None
        else f"{100 * row.probe.accuracy:.1f} %" + " (not converged)" * (not row.probe.converged),
        "-" if row.relative is None else f"{row.relative:.3f}",
        "-" if row.saturation is None else f"{100 * row.saturation.share:.1f} %",
        ", ".join(marks),
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _field(field: tuple[float, ...] | None) -> str:
    return "-" if field is None else one_or_all(tuple(format_field(value) for value in field))
