"""Links from a report to the files of its runs, and over the points of its main plot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from ..common.cost_unit import CostUnit, cost_unit
from ..common.statistics import format_number
from .plots import tradeoff_positions
from .read_runs import Run

__all__ = ["points_of_runs", "run_files"]

FILES = {"config": "config.yaml", "metrics": "metrics.csv", "I_min": "i_min.jsonl", "environment": "environment.json"}


def run_files(folder: Path | str, out: Path | str) -> str:
    """HTML of links to the files of a run, relative to the folder of the report, but for those it lacks."""
    there = {name: Path(folder) / file for name, file in FILES.items() if (Path(folder) / file).is_file()}
    return " ".join(f'<a href="{_address(path, out)}">{name}</a>' for name, path in there.items())


def points_of_runs(figure: Figure, runs: Sequence[Run], out: Path | str) -> str:
    """HTML of a link over each run's point in the drawn plot of the metric against cost; its tip names the run."""
    return "".join(_points(figure, runs, out))


def _points(figure: Figure, runs: Sequence[Run], out: Path | str) -> Iterator[str]:
    unit = cost_unit(run.last.gmacs for run in runs)
    for run, position in zip(runs, tradeoff_positions(figure, runs), strict=True):
        if position is None:
            continue
        left, top = (f"{100 * fraction:.2f}%" for fraction in position)
        side = "left" if position[0] > 0.5 else "right"  # of the point, so that the tip stays inside the picture
        tip = escape(_tip(run, unit))
        address = _address(run.folder / "config.yaml", out)
        place = f'class="point {side}" style="left:{left};top:{top}"'
        yield f'<a {place} href="{address}" data-tip="{tip}" aria-label="{tip}"></a>'


def _tip(run: Run, unit: CostUnit) -> str:
    score = "-" if run.last.score is None else f"{format_number(100 * run.last.score)} %"
    return f"{run.group}, seed {run.seed}: {score}, {unit.show(run.last.gmacs)} {unit.name}"


def _address(path: Path, out: Path | str) -> str:
    """The address of a file from a page in the folder `out`, as text of an HTML attribute."""
    try:
        found = Path(os.path.relpath(path, out)).as_posix()
    except ValueError:  # another drive of Windows
        return escape(path.resolve().as_uri())
    return escape(quote(found if found.startswith(".") else f"./{found}"))
