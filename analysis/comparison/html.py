"""The HTML report of a comparison: report.html, summary.csv, pairs.csv and the plots as PNG files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from dynpool.size_math import Size

from ..common.atomic_files import write_whole
from ..common.axis_names import axis_names
from ..common.cost_unit import CostUnit, cost_unit
from ..common.page_style import html_page
from ..common.statistics import MeanStd, format_number, format_size, plural
from ..common.style import to_files
from .glossary import glossary
from .pairs import margin_text
from .plots import method_colors
from .rows import MethodRow, RunRow, footnote, metric_name
from .run_links import points_of_runs, run_files
from .summary import Comparison, compare_runs

__all__ = ["Comparison", "compare_runs", "write_report"]

TITLES = {
    "pairs": "Differences",
    "accuracy_vs_gmacs": "Accuracy against cost",
    "miou_vs_gmacs": "mIoU against cost",
    "sizes": "Feature-map sizes",
    "kernels": "Learned kernels beside their maps",
    "predictions": "Predictions beside masks",
    "objects": "Receptive fields against the sizes of objects",
    "i_min": "I<sub>min</sub> against the input resolution",
    "alphas": "Strides over time",
    "accuracy": "Accuracy over time",
    "miou": "mIoU over time",
}

EXAMPLES = {  # captions
    "predictions": "Some test images, their masks, and the predictions of the first run of each method after its last"
    " epoch, with its figure on all test images.",
    "objects": "For the maps of each height that a network has, in one or several branches: from the largest r_min to"
    " the largest r_max of their layers, along the shortest and the longest path that is not global. Grey: the longer"
    " side of objects, connected parts of one class in masks of test images. First run of each method.",
}


def write_report(run_folders: Sequence[Path | str] | Comparison, out: Path | str, *, vector: bool = False) -> Path:
    """Write report.html, summary.csv, pairs.csv and the plots of the runs into `out`; returns the path of report.html.

    report.html embeds its styles and pictures and loads nothing. Every file is written atomically. `out` is created if
    it does not exist.

    Args:
        run_folders: folders of runs or of comparisons, or what `compare_runs` made of them.
        out: the folder to write to.
        vector: write the plots as SVG, too.

    Raises:
        FileNotFoundError: if a run folder or one of its files is missing.
        ValueError: if a folder is not a run folder, is damaged or has no finished epoch, or if `out` is a file.
        OSError: if `out` cannot be written.
    """
    if not isinstance(out, (str, Path)):
        raise TypeError(f"out must be a str or a path, got {out!r}")
    out = Path(out)
    comparison = run_folders if isinstance(run_folders, Comparison) else compare_runs(run_folders)
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, but {str(out)!r} is a file")
    figures = comparison.plot()
    files = {name: to_files(figure, name, vector=vector) for name, figure in figures.items()}
    pictures = {name: of_figure[f"{name}.png"] for name, of_figure in files.items()}
    points = points_of_runs(figures[_tradeoff(comparison)], comparison.runs, out)
    page = _page(comparison, pictures, points, out)
    out.mkdir(parents=True, exist_ok=True)
    for of_figure in files.values():
        for name, data in of_figure.items():
            write_whole(out / name, data)
    write_whole(out / "summary.csv", comparison.to_csv().encode())
    write_whole(out / "pairs.csv", comparison.pairs_to_csv().encode())
    report = out / "report.html"
    write_whole(report, page.encode())
    return report


def _tradeoff(comparison: Comparison) -> str:
    """The name of the plot of the metric against cost."""
    return f"{comparison.methods[0].metric.key}_vs_gmacs"


def _names(comparison: Comparison) -> tuple[str, ...]:
    """The axes of the input."""
    return axis_names(len(comparison.runs[0].input_size) - 1)


def _axes(comparison: Comparison) -> str:
    return " × ".join(_names(comparison))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _title(comparison: Comparison) -> str:
    methods = list(dict.fromkeys(row.method for row in comparison.methods))
    joined = methods[0] if len(methods) == 1 else f"{', '.join(methods[:-1])} and {methods[-1]}"
    return joined if len(methods) == 1 else f"{joined} compared"


def _setup(comparison: Comparison) -> str:
    """One line on what was run: model, data, input, epochs and seeds."""
    parts = []
    for key in ("model", "data"):
        values = list(dict.fromkeys(_setting_text(run.config[key]) for run in comparison.runs if run.config.get(key)))
        if values:
            parts.append(f"{key} {' / '.join(values)}")
    inputs = dict.fromkeys("×".join(map(str, run.input_size)) for run in comparison.runs)
    parts.append(f"input {' / '.join(inputs)} (channels × {_axes(comparison)})")
    *several, last = dict.fromkeys(run.epochs_planned for run in comparison.runs)
    parts.append(" / ".join([*map(str, several), plural(last, "epoch")]))
    seeds = {row.group: f"seeds {', '.join(map(str, row.seeds))}" for row in comparison.methods}
    same = len(set(seeds.values())) == 1
    parts.append(next(iter(seeds.values())) if same else "; ".join(f"{group} {text}" for group, text in seeds.items()))
    return " · ".join(parts)


def _setting_text(value: object) -> str:
    """The text of a setting, without unset values and file locations."""
    if isinstance(value, Mapping):
        unsaid = {"name", "root", "cache", "download"}
        if value.get("name") != "digits":
            unsaid.add("test_fraction")  # of the digits alone
        shown = {key: item for key, item in value.items() if item and key not in unsaid}
        listed = ", ".join(f"{key} {_setting_text(item)}" for key, item in shown.items())
        name = str(value.get("name") or "")
        return f"{name} ({listed})" if name and listed else name or listed
    if isinstance(value, (list, tuple)):
        return "-".join(map(_setting_text, value))
    return str(value)


def _page(comparison: Comparison, pictures: Mapping[str, bytes], points: str, out: Path) -> str:
    over = {_tradeoff(comparison): points}
    figures = [
        _figure(name, data, *_caption_and_alt(name, comparison), over.get(name, "")) for name, data in pictures.items()
    ]
    if "alphas" not in pictures:
        figures.append("<p>No run learns its sizes, so there are no strides to draw.</p>")
    notes = ""
    if comparison.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
        notes = f'<div class="notes"><strong>Notes</strong><ul>{items}</ul></div>'
    parts = [
        f'<p class="setup">{escape(_setup(comparison))}</p>',
        f'<p class="headline">{escape(comparison.headline)}</p>',
        "<ul>" + "".join(f"<li>{_html(finding)}</li>" for finding in comparison.findings) + "</ul>",
        notes,
        "<h2>Methods</h2>",
        _methods_table(comparison),
        _pairs_table(comparison),
        *figures,
        "<h2>Runs</h2>",
        _runs_table(comparison, out),
        _glossary(comparison),
    ]
    return html_page(_title(comparison), parts)


def _figure(name: str, data: bytes, caption: str, alt: str, over: str) -> str:
    """A picture under its heading; `over` is HTML laid over it."""
    source = base64.b64encode(data).decode()
    image = f'<img src="data:image/png;base64,{source}" alt="{escape(alt)}">'
    picture = f'<div class="wide"><div class="picture">{image}{over}</div></div>'
    return f"<h2>{TITLES[name]}</h2>\n<figure>{picture}<figcaption>{_html(caption)}</figcaption></figure>"


def _caption_and_alt(name: str, comparison: Comparison) -> tuple[str, str]:
    """The caption below a plot and its alt text."""
    methods = comparison.methods
    unit = cost_unit(row.gmacs.mean for row in methods)
    if name == "pairs":
        shown = [pair for pair in comparison.pairs if pair.test is not None]
        caption = "The differences of the table with their intervals, which are not corrected; the verdicts are."
        return caption, "; ".join(f"{pair.group} against {pair.baseline}: {pair.verdict}" for pair in shown)
    if name == _tradeoff(comparison):
        alt = "; ".join(
            f"{row.group} {row.score.show(1, 100)} % at {row.gmacs.show(unit.digits, unit.scale)} {unit.name}"
            for row in methods
        )
        caption = (
            "Up and to the left is better. Small markers: single runs, final epoch. Large markers: mean of a method ±"
            " one standard deviation. The axes do not start at zero. Hover over a small marker to see which run it is;"
            " it links to the run's config."
        )
        return caption, alt
    if name == "sizes":
        rows = dict.fromkeys(f"{row.group}: {_size_sequence(row.sizes)}" for row in comparison.rows)
        caption = (
            f"{_capital(_axes(comparison))} at the last finished epoch, from the input onwards, all networks drawn to"
            " the same scale. Runs that ended at the same sizes share a row."
            + " The strip beside a map is its depth, with a cell for each frame or slice where they fit."
            * (len(_names(comparison)) == 3)
        )
        return caption, "; ".join(rows)
    if name == "kernels":
        learned = [run for run in comparison.runs if run.last.kernels]
        rows = dict.fromkeys(f"{run.group}: {_size_sequence(run.last.kernels)}" for run in learned)
        caption = (
            "Each learned kernel (filled) on the map that it slides over (light), height × width at the last finished"
            " epoch, all to the same scale; dashed where it was another before training. Runs that ended at the same"
            " sizes share a row."
        )
        return caption, "; ".join(rows)
    if name in EXAMPLES:
        figures = "; ".join(f"{row.group} {row.score.show(1, 100)} %" for row in methods)
        drawn = "test images, masks and predictions" if name == "predictions" else "receptive fields and object sizes"
        return EXAMPLES[name], f"{drawn} of each method, whose {methods[0].metric.name} is {figures}"
    if name == "i_min":
        finals = "; ".join(f"{row.group} {_mean_pair(row)}" for row in methods)
        inputs = " / ".join(dict.fromkeys("×".join(map(str, run.input_size[1:])) for run in comparison.runs))
        caption = (
            f"Means at the last epoch: {finals}; input {inputs} ({_axes(comparison)}). Where I_min exceeds the input"
            " resolution, some layers have a receptive field larger than the image."
        )
        if note := footnote(methods):
            caption += f" {note}"
        return caption, f"I_min per epoch: {finals}; input resolution {inputs}"
    if name == "alphas":
        caption = (
            "A stride is input size / output size: 2 halves the feature map, values below 1 enlarge it. The stride of a"
            " Shape Adaptor is 1 / s, with s its scale factor. Flat lines are strides that are not learned. One panel"
            " per resolution, named after its module, in network order."
        )
        return caption, f"stride of each resolution per epoch, {' and '.join(_names(comparison))}"
    finals = "; ".join(f"{row.group} {row.score.show(1, 100)} %" for row in methods)
    return (
        f"{_capital(metric_name(comparison.rows))} after every epoch; epoch 0 is before training.",
        f"{metric_name(comparison.rows)} per epoch, ending at {finals}",
    )


def _mean_pair(row: MethodRow) -> str:
    return row.starred("×".join(format_number(value.mean) for value in row.i_min))


def _size_sequence(sizes: Mapping[str, Size]) -> str:
    return " → ".join(format_size(size).replace("x", "×") for size in sizes.values())


def _swatch(group: str, color: str) -> str:
    return f'<span class="swatch" style="background:{color}"></span>{escape(group)}'


def _budget(row: MethodRow, unit: CostUnit) -> str:
    """The budget, unless it is part of the row's name."""
    if "gmacs_budget=" in row.grid_point:
        return ""
    if row.matches is not None:
        return f"as {row.matches}"
    return "" if row.gmacs_budget is None else f"budget {unit.scale * row.gmacs_budget:g}"


def _second_line(text: str) -> str:
    """HTML of a cell's second line; empty without text."""
    return f'<br><span class="spread">{escape(text)}</span>' if text else ""


def _mean_std(value: MeanStd | None, digits: int = 1, scale: float = 1.0) -> str:
    if value is None:
        return "-"
    mean, deviation = value.show(digits, scale).split(" ± ")
    return mean if value.std is None else f'{mean}<span class="spread"> ± {deviation}</span>'


def _methods_table(comparison: Comparison) -> str:
    colors = method_colors(comparison.runs)
    unit = cost_unit(row.gmacs.mean for row in comparison.methods)
    metric = comparison.methods[0].metric.name
    heads = f"Method|Runs|Final {metric}, %|{unit.name}|Parameters|"
    heads += f"I<sub>min</sub><br>{', '.join(_names(comparison))}|I<sub>res</sub>|"
    heads += "Unproductive layers|Seconds per epoch|Peak memory, MB"
    timed = any(row.latency_ms is not None for row in comparison.methods)
    heads += "|Milliseconds<br>a pass" * timed
    body = []
    for row in comparison.methods:
        runs = str(row.score.n) + (f"<br>{row.unfinished} unfinished" if row.unfinished else "")
        cells = [
            _swatch(row.method, colors[row.method]) + _second_line(row.grid_point),
            runs,
            f"<strong>{_mean_std(row.score, 1, 100)}</strong>",
            _mean_std(row.gmacs, unit.digits, unit.scale).replace("<span", "<br><span")
            + _second_line(_budget(row, unit)),
            "-" if row.parameters is None else f"{row.parameters.mean:,.0f}",
            "<br>".join(row.starred(_mean_std(value)) for value in row.i_min),
            "-" if row.i_res is None else format_size(row.i_res).replace("x", "×"),
            row.starred(_mean_std(row.unproductive)),
            _mean_std(row.seconds_per_epoch),
            _mean_std(row.peak_memory, 0, 1e-6),
            *[_mean_std(row.latency_ms, 2)] * timed,
        ]
        body.append("".join(f"<td>{cell}</td>" for cell in cells))
    key = (
        "Mean ± standard deviation over the runs of a method; a single run has no standard deviation. Final"
        f" {metric} is that of the last epoch. The best epoch, in the table of runs, is chosen on the images that"
        f" {metric} is measured on, so it is optimistic."
    )
    keys = [key, *filter(None, [footnote(comparison.methods)])]
    return _table(heads.split("|"), body) + "".join(f'\n<p class="key">{_html(key)}</p>' for key in keys)


def _pairs_table(comparison: Comparison) -> str:
    if not comparison.pairs:
        return ""
    heads = "Pair|Seeds|Difference,<br>points|95 %<br>interval|d<sub>z</sub>|p|p of<br>equivalence|GMACs|Verdict"
    body = []
    for pair in comparison.pairs:
        name, *figures, verdict = map(escape, pair.cells())
        strong = pair.better is not None or pair.equivalent
        texts = [name.replace(" against ", "<br>against "), *(cell.replace("x ", "× ") for cell in figures)]
        cells = "".join(f"<td>{text}</td>" for text in texts)
        body.append(f"{cells}<td>{f'<strong>{verdict}</strong>' if strong else verdict}</td>")
    margin = margin_text(comparison.pairs[0].margin)
    key = (
        "Differences are taken over the seeds that both methods have: method minus the one it is compared with. Better"
        " or worse: p is below 0.05; equivalent: p of equivalence is, so that the difference lies within "
        f"{margin}. Both are corrected for the number of pairs tested (Holm). What is not decided may be a real"
        " difference: this many seeds would detect one of the given size with a probability of 80 %."
    )
    table = _table(heads.split("|"), body, "pairs")
    return f'<h2>Pairs of methods</h2>\n{table}\n<p class="key">{escape(key)}</p>'


def _runs_table(comparison: Comparison, out: Path) -> str:
    colors = method_colors(comparison.runs)
    unit = cost_unit(row.gmacs.mean for row in comparison.methods)
    heads = f"Run|Epochs|Final, %|Best, % (epoch)|{unit.name}|I<sub>min</sub>|Unproductive layers|Seconds per epoch"
    body = []
    for row in comparison.rows:
        cells = [f"<td>{cell}</td>" for cell in _run_cells(row, unit)]
        first = f"<td>{_swatch(row.group, colors[row.method])}, seed {row.seed}</td>"
        below = f'{_size_sequence(row.sizes)}<span class="files">{run_files(row.folder, out)}</span>'
        body.append(f'{first}{"".join(cells)}</tr>\n<tr class="sizes"><td colspan="{1 + len(cells)}">{below}</td>')
    names = {tuple(row.sizes) for row in comparison.rows}
    key = ""
    if len(names) == 1:
        listed = ", ".join(f"{index} {name}" if index else name for index, name in enumerate(names.pop()))
        key = f'\n<p class="key">Final sizes ({_axes(comparison)}) of: {escape(listed)}.</p>'
    return _table(heads.split("|"), body, "runs") + key


def _run_cells(row: RunRow, unit: CostUnit) -> list[str]:
    star = " *" if row.behind_global else ""
    return [
        f"{row.epochs}/{row.epochs_planned}" + ("" if row.finished else "<br>unfinished"),
        format_number(100 * row.score),
        f"{format_number(100 * row.best_score)} ({row.best_epoch})",
        unit.show(row.gmacs),
        format_size(row.i_min, 1).replace("x", "×") + star,
        "-" if row.unproductive is None else str(row.unproductive) + star,
        format_number(row.seconds_per_epoch),
    ]


def _table(heads: Sequence[str], body: Sequence[str], kind: str = "") -> str:
    """An HTML table of a class, sortable by its columns: a <tbody> for each item of `body`, which holds its cells.

    `heads` and `body` are HTML: text of the runs in them must be escaped.
    """
    cells = "".join(f"<th>{head}</th>" for head in heads)
    rows = "\n".join(f"<tbody><tr>{item}</tr></tbody>" for item in body)
    table = f'<table class="sortable {kind}"><thead><tr>{cells}</tr></thead>\n{rows}\n</table>'
    return f'<div class="wide">{table}</div>'


def _html(text: str) -> str:
    """Plain text as HTML, with I_min as I<sub>min</sub>."""
    return escape(text).replace("I_min", "I<sub>min</sub>")


def _glossary(comparison: Comparison) -> str:
    terms = glossary(comparison.methods[0].metric, _names(comparison))
    items = "".join(f"<dt>{_html(term)}</dt><dd>{_html(text)}</dd>" for term, text in terms.items())
    return f"<h2>Glossary</h2><dl>{items}</dl>"
