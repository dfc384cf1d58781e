"""The HTML page of inspected networks: inspection.html, one self-contained file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from ..common.atomic_files import write_whole
from ..common.json_text import strict_json
from ..common.page_style import html_page
from ..common.statistics import plural
from ..common.style import to_png
from .agreement import Agreement, tail_agreement
from .hessian_plot import plot_spectra_side_by_side
from .hessian_report import HessianSpectrum
from .page_parts import image, network_section, notes, summary_table, words
from .plot import plot_side_by_side
from .pruning_plot import plot_pruning_over_seeds
from .pruning_report import PruningReport
from .report import InspectionReport
from .seed_summary import SeedSummary, over_seeds, seeds_csv
from .similarity_report import CKAReport

__all__ = ["write_page"]

COLUMNS = 6  # of the picture; further designs have tables only
OPEN = 3  # networks, up to which their tables are open
LAYERS = (
    "Layers from left to right. Red: unproductive. Black dots: where the tail begins. Green dots: from there on the "
    "saturation stays low. Dashed: the network's accuracy, and the size of the image."
)
DOTS = "A point per network: the share of its layers in the tail, as receptive fields predict it and as probes show."

Spectra = Mapping[str, HessianSpectrum]


def write_page(
    reports: Mapping[str, InspectionReport],
    out: str | os.PathLike[str],
    *,
    designs: Mapping[str, str] | None = None,
    pruning: Mapping[str, PruningReport] | None = None,
    spectra: Mapping[str, Spectra] | None = None,
    similarity: Mapping[str, CKAReport] | None = None,
) -> Path:
    """Write inspection.html and what it shows of networks inspected on the same images.

    Beside the page: layers.png, agreement.json, and over_seeds.json and over_seeds.csv, with a row per design and layer
    with means and 95 % intervals over seeds.

    Args:
        reports: by the name of the network, at least one.
        out: the folder to write to; created if it does not exist.
        designs: {network: its design or method}, the same for networks that differ in their seed: one column of the
            picture each. None: each network is its own. Only the first six designs are in the picture.
        pruning: by the name of the network.
        spectra: {network: {"before training": spectrum, "trained": spectrum}}.
        similarity: by a title that names the two networks.

    Returns:
        The path of inspection.html, which embeds its styles and pictures and loads nothing.

    Raises:
        ValueError: if there is no report, or a network has no design.
        OSError: if it cannot be written.
    """
    if not reports:
        raise ValueError("reports is empty: give at least one report by the name of its network")
    of = {name: name for name in reports} if designs is None else designs
    missing = [name for name in reports if name not in of]
    if missing:
        raise ValueError(f"designs has no entry for {missing[0]!r}: give one for each report")
    groups = {design: [n for n in reports if of[n] == design] for design in dict.fromkeys(of[n] for n in reports)}
    summaries = [over_seeds({n: reports[n] for n in names}, design) for design, names in groups.items()]
    layers = to_png(_layers({design: [reports[n] for n in names] for design, names in groups.items()}))
    found = tail_agreement(reports, of)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "layers.png", layers)
    write_whole(folder / "agreement.json", strict_json(found.to_dict()).encode())
    seeds = {"designs": [summary.to_dict() for summary in summaries]}
    write_whole(folder / "over_seeds.json", strict_json(seeds).encode())
    write_whole(folder / "over_seeds.csv", seeds_csv(summaries).encode())
    parts = [
        *_head(reports, found, summaries, layers),
        *_pruning(groups, pruning or {}),
        *_hessians(groups, spectra or {}),
        *_similarity(similarity or {}),
        "<h2>Networks</h2>" * (len(reports) > OPEN),
        *(network_section(name, report, folded=len(reports) > OPEN) for name, report in reports.items()),
        words(),
    ]
    title = "Which layers work" if len(reports) > 1 else f"Which layers work: {next(iter(reports))}"
    page = folder / "inspection.html"
    write_whole(page, html_page(title, parts).encode())
    return page


def _layers(columns: Mapping[str, list[InspectionReport]]) -> Figure:
    """The picture; networks with other layers than the first of their column are left out."""
    kept = {}
    for design, reports in list(columns.items())[:COLUMNS]:
        names = [row.name for row in reports[0].rows]
        kept[design] = [report for report in reports if [row.name for row in report.rows] == names]
    return plot_side_by_side(kept, headline=False)


def _head(
    reports: Mapping[str, InspectionReport], found: Agreement, summaries: Sequence[SeedSummary], layers: bytes
) -> list[str]:
    first = next(iter(reports.values()))
    sizes = dict.fromkeys("×".join(map(str, report.input_size)) for report in reports.values())
    setup = (
        f"input {' / '.join(sizes)} (channels × height × width) · {plural(first.test_images, 'held-out image')} · "
        f"{plural(first.probe_images, 'image')} for the probes"
    )
    probes = [row.probe for report in reports.values() for row in report.rows if row.probe is not None]
    if probes:
        done = sum(probe.converged for probe in probes)
        setup += f" · {'all' if done == len(probes) else done} of {plural(len(probes), 'probe')} converged"
    picture = image(layers, "Probe accuracy, saturation and receptive field of each layer on aligned panels", LAYERS)
    if len(reports) == 1:
        said = f"{first.verdict[0].upper()}{first.verdict[1:]}."
        return [f'<p class="setup">{escape(setup)}</p>', f'<p class="headline">{escape(said)}</p>', picture]
    parts = [f'<p class="setup">{escape(setup)}</p>', f'<p class="headline">{escape(str(found))}.</p>', picture]
    if len(summaries) < len(reports):
        parts.append(summary_table(summaries))
    else:
        items = (f"<li>{escape(f'{name}: {report.verdict}')}</li>" for name, report in reports.items())
        parts.append(f"<ul>{''.join(items)}</ul>")
    if len(found.points) > 1:
        parts.append("<h2>Does the receptive field predict the tail?</h2>")
        parts.append(image(to_png(found.plot()), "Observed against predicted tails", DOTS, width=560))
        parts.append(f"<p>{escape(found.detail)}</p>")
    return parts


def _pruning(groups: Mapping[str, Sequence[str]], found: Mapping[str, PruningReport]) -> list[str]:
    curves = {}
    for design, names in groups.items():
        reports = [found[name] for name in names if name in found]
        if reports:
            curves[design] = [
                [(0.0, report.dense, report.dense), *((r.amount, r.score, r.score_after) for r in report.rows)]
                for report in reports
            ]
    if not curves:
        return []
    said = (
        "The smallest weights of all convolutions and linear layers together are removed at once. Bars: deviation over "
        "seeds."
    )
    picture = image(to_png(plot_pruning_over_seeds(curves, score="accuracy")), "Accuracy after pruning", said)
    notices = [f"{name}: {notice}" for name, report in found.items() for notice in report.notices]
    return ["<h2>Pruning</h2>", picture, notes(notices)]


def _hessians(groups: Mapping[str, Sequence[str]], found: Mapping[str, Spectra]) -> list[str]:
    columns: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for design, names in groups.items():
        for name in names:
            for label, spectrum in found.get(name, {}).items():
                columns.setdefault(design, {}).setdefault(label, []).append(spectrum.eigenvalues)
    if not columns:
        return []
    spectra = [(f"{name}, {label}", s) for name, both in found.items() for label, s in both.items()]
    first = spectra[0][1]
    said = (
        f"The {plural(first.wanted, 'largest eigenvalue')} of the Hessian of the mean loss of "
        f"{plural(first.images, 'training image')}, one series per seed. Before training, batch norms do not "
        "normalise, as their running statistics are not set."
    )
    picture = image(to_png(plot_spectra_side_by_side(columns)), "Eigenvalues of the Hessian by rank", said)
    return ["<h2>Curvature</h2>", picture, notes([f"{name}: {n}" for name, s in spectra for n in s.notices])]


def _similarity(found: Mapping[str, CKAReport]) -> list[str]:
    if not found:
        return []
    parts = ["<h2>Similarity of seeds</h2>"]
    for title, report in found.items():
        parts.append(f"<h3>{escape(title)}</h3><p>{escape(report.verdict[0].upper() + report.verdict[1:])}.</p>")
        parts.append(image(to_png(report.plot()), f"Linear CKA of all pairs of layers: {title}", "", width=620))
        parts.append(notes(report.notices))
    return parts
