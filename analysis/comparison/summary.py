"""Training runs compared: one row per run, one per method, and findings in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..common.axis_names import along_axes
from .findings import findings, headline, notes, nothing_learned
from .pairs import PairRow, pair_rows
from .plots import draw
from .read_runs import Run, find_runs, read_run
from .rows import MethodRow, RunRow
from .settings import find_settings
from .text import pairs_csv, summary, tables

__all__ = ["Comparison", "compare_runs"]


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_runs`. `str()` prints it, `to_dict()` gives plain data, `plot()` draws it.

    The headline accuracy is that of the final epoch, not of the best one: choosing the best epoch on the test set
    favours methods whose accuracy fluctuates more. The rows hold the best epoch too.
    """

    runs: tuple[Run, ...]
    rows: tuple[RunRow, ...]
    methods: tuple[MethodRow, ...]
    pairs: tuple[PairRow, ...]
    headline: str
    findings: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return tables(
            self.rows, self.methods, self.pairs, headline=self.headline, findings=self.findings, notes=self.notes
        )  # fmt: skip

    def to_dict(self) -> dict[str, object]:
        """The comparison as dictionaries, lists, strings and numbers; an infinite value is float('inf')."""
        return {
            "headline": self.headline,
            "findings": list(self.findings),
            "notes": list(self.notes),
            "methods": [_along_axes(asdict(row)) for row in self.methods],
            "pairs": [asdict(row) | {"verdict": row.verdict} for row in self.pairs],
            "runs": [asdict(row) for row in self.rows],
        }

    def to_csv(self) -> str:
        """The comparison as CSV text: one line per method (kind 'method', with _std), then one per run (kind 'run')."""
        return summary(self.rows, self.methods)

    def pairs_to_csv(self) -> str:
        """The pairs of methods as CSV text, a line each."""
        return pairs_csv(self.pairs)

    def plot(self) -> dict[str, Figure]:
        """The figures by name, in the order of the report; 'alphas' only if some run learns its sizes."""
        return draw(self.runs, self.pairs)


def _along_axes(row: dict[str, Any]) -> dict[str, object]:
    """A row as a dictionary, in which I_min has a key for each axis."""
    found: dict[str, object] = {}
    for key, value in row.items():
        found |= dict(zip(along_axes(key, len(value)), value, strict=True)) if key == "i_min" else {key: value}
    return found


def compare_runs(run_folders: Sequence[Path | str]) -> Comparison:
    """A comparison of the runs in `run_folders`. The folder of a comparison stands for all runs inside it.

    The pairs to test and the margin of equivalence are those of comparison.yaml if all runs are of one comparison; else
    every method is tested against the first and against those that match its cost, with a margin of one point.

    Raises:
        FileNotFoundError: if a folder, its config.yaml or its metrics.csv is missing.
        ValueError: if a folder is not a run folder, is damaged, given twice or has no finished epoch, or if the runs
            are of different tasks or of data with different axes; the message names the folder and the reason.
    """
    runs = [read_run(folder) for folder in find_runs(run_folders)]
    # The human-designed network comes first: the others are compared with it.
    runs.sort(key=lambda run: (run.method != "human", run.method, run.grid_point, run.seed, str(run.folder)))
    rows = [RunRow.from_run(run) for run in runs]
    metrics = {row.metric.name: row for row in rows}
    if len(metrics) > 1:
        named = ", ".join(f"{row.folder} by {name}" for name, row in metrics.items())
        raise ValueError(f"runs of different tasks cannot be compared: {named}")
    inputs = {len(run.input_size): run for run in runs}
    if len(inputs) > 1:
        named = ", ".join(f"{run.folder} of {'x'.join(map(str, run.input_size))}" for run in inputs.values())
        raise ValueError(f"runs of data with different axes cannot be compared: {named}")
    groups: dict[str, list[RunRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    methods = [MethodRow.from_rows(group) for group in groups.values()]
    settings = find_settings([run.folder for run in runs])
    pairs = pair_rows(methods, rows, pairs=settings.pairs, margin=settings.margin)
    return Comparison(
        runs=tuple(runs),
        rows=tuple(rows),
        methods=tuple(methods),
        pairs=tuple(pairs),
        headline=" ".join(filter(None, (headline(methods, rows, pairs), nothing_learned(runs)))),
        findings=tuple(findings(methods, rows, pairs)),
        notes=(*settings.notes, *notes(runs, methods, rows)),
    )
