"""A comparison as printed tables and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dynpool.size_math import PerAxis

from ..common.axis_names import along_axes, axis_names
from ..common.cost_unit import CostUnit, cost_unit
from ..common.statistics import MeanStd, format_number, format_size
from ..common.text_table import aligned
from .pairs import HEADS, PairRow
from .rows import MethodRow, RunRow, footnote, metric_name

__all__ = ["pairs_csv", "summary", "tables"]


def tables(
    rows: Sequence[RunRow],
    groups: Sequence[MethodRow],
    pairs: Sequence[PairRow],
    *,
    headline: str,
    findings: Sequence[str],
    notes: Sequence[str],
) -> str:
    """The printed comparison: headline, findings, tables of methods, of pairs and of runs, notes."""
    unit = cost_unit(row.gmacs.mean for row in groups)
    budgets = any(row.gmacs_budget is not None or row.matches is not None for row in groups)
    metric = groups[0].metric.name
    axes = axis_names(len(rows[0].i_res))
    head = ["method", "runs", f"{metric} %", "best %", unit.name, "parameters", *(f"I_min {axis[0]}" for axis in axes)]
    head += ["I_res", "unproductive", "s/epoch", "peak MB"]
    timed = any(row.latency_ms is not None for row in groups)
    methods = [[*head[:5], *["budget"] * budgets, *["ms"] * timed, *head[5:]]]
    for row in groups:
        methods.append(
            [
                row.group,
                str(row.score.n),
                row.score.show(1, 100),
                row.best_score.show(1, 100),
                row.gmacs.show(unit.digits, unit.scale),
                *[_budget(row, unit)] * budgets,
                *["-" if row.latency_ms is None else row.latency_ms.show(2)] * timed,
                "-" if row.parameters is None else f"{row.parameters.mean:,.0f}",
                *(row.starred(value.show()) for value in row.i_min),
                "-" if row.i_res is None else format_size(row.i_res),
                "-" if row.unproductive is None else row.starred(row.unproductive.show()),
                "-" if row.seconds_per_epoch is None else row.seconds_per_epoch.show(),
                "-" if row.peak_memory is None else row.peak_memory.show(0, 1e-6),
            ]
        )
    heads = f"method|seed|epochs|{metric} %|best % (epoch)|{unit.name}|I_min|unproductive|sizes"
    runs = [heads.split("|")]
    for run in rows:
        star = " *" if run.behind_global else ""
        runs.append(
            [
                run.group,
                str(run.seed),
                f"{run.epochs}/{run.epochs_planned}" + ("" if run.finished else " unfinished"),
                format_number(100 * run.score),
                f"{format_number(100 * run.best_score)} ({run.best_epoch})",
                unit.show(run.gmacs),
                format_size(run.i_min, 1) + star,
                "-" if run.unproductive is None else str(run.unproductive) + star,
                " ".join(format_size(size) for size in run.sizes.values()),
            ]
        )
    parts = [
        headline,
        *(f"- {finding}" for finding in findings),
        "",
        *aligned(methods, left={0}),
        "",
        *_pairs_table(pairs),
        *aligned(runs, left={0, 8}),
        "",
        f"{metric}: {metric_name(rows)} of the final epoch; ±: standard deviation over runs; "
        f"I_min and sizes: {' x '.join(axes)}" + "; ms: of one pass, as measured after the last epoch" * timed,
    ]
    parts += [note] if (note := footnote(groups)) else []
    parts += [f"note: {note}" for note in notes]
    return "\n".join(parts)


def _budget(row: MethodRow, unit: CostUnit) -> str:
    if row.matches is not None:
        return f"as {row.matches}"
    return "-" if row.gmacs_budget is None else f"{unit.scale * row.gmacs_budget:g}"


def _pairs_table(pairs: Sequence[PairRow]) -> list[str]:
    if not pairs:
        return []
    table = [list(HEADS), *(pair.cells() for pair in pairs)]
    key = (
        "difference: in points, over the common seeds; d_z: mean / standard deviation of the differences; p: paired"
        " t-test, p equiv.: two one-sided tests, each corrected for the number of pairs (Holm)"
    )
    return [*aligned(table, left={0, len(HEADS) - 1}), key, ""]


FIGURES = ("unproductive", "parameters", "seconds_per_epoch", "peak_memory", "latency_ms")
SEGMENTATION_FIGURES = ("miou", "best_miou")


def summary(rows: Sequence[RunRow], groups: Sequence[MethodRow]) -> str:
    """The comparison as CSV text: one line per method, then one per run."""
    head = ["kind", "method", "grid_point", "seed", "runs", "epochs", "epochs_planned", "finished"]
    fields = along_axes("i_min", len(rows[0].i_min))
    figures = ("accuracy", "best_accuracy", "gmacs", *fields, *FIGURES)
    figures += SEGMENTATION_FIGURES * any(row.miou is not None for row in rows)
    columns = [*head, *(name for figure in figures for name in (figure, f"{figure}_std"))]
    columns += ["gmacs_budget", "matches", "behind_global", "sizes", "folder"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in groups:
        cells: dict[str, object] = {"kind": "method", "method": row.method, "runs": row.score.n}
        cells["grid_point"] = row.grid_point
        cells["gmacs_budget"] = _csv_cell(row.gmacs_budget)
        cells["matches"] = row.matches or ""
        cells["behind_global"] = row.behind_global
        cells["finished"] = str(row.unfinished == 0).lower()
        along = dict(zip(fields, row.i_min, strict=True))
        for figure in figures:
            value: MeanStd | None = along[figure] if figure in along else getattr(row, figure)
            cells[figure] = _csv_cell(None if value is None else value.mean)
            cells[f"{figure}_std"] = _csv_cell(None if value is None else value.std)
        cells["sizes"] = "" if row.sizes is None else _sizes_as_json(row.sizes)
        writer.writerow(cells)
    for run in rows:
        values = (
            run.accuracy, run.best_accuracy, run.gmacs, *run.i_min, run.unproductive, run.parameters,
            run.seconds_per_epoch, run.peak_memory, run.latency_ms, run.miou, run.best_miou,
        )  # fmt: skip
        writer.writerow(
            {
                "kind": "run",
                "method": run.method,
                "grid_point": run.group.removeprefix(run.method).strip(),
                "seed": run.seed,
                "runs": 1,
                "epochs": run.epochs,
                "epochs_planned": run.epochs_planned,
                "finished": str(run.finished).lower(),
                "gmacs_budget": _csv_cell(run.gmacs_budget),
                "matches": run.matches or "",
                "behind_global": run.behind_global,
                **{figure: _csv_cell(value) for figure, value in zip(figures, values, strict=False)},
                "sizes": _sizes_as_json(run.sizes),
                "folder": Path(run.folder).name,
            }
        )
    return buffer.getvalue()


def pairs_csv(pairs: Sequence[PairRow]) -> str:
    """The pairs as CSV text, a line each; differences are fractions."""
    buffer = io.StringIO()
    figures = ("n", "mean", "std", "low", "high", "d_z", "p", "p_equivalence")
    columns = ["group", "baseline", *figures, "p_corrected", "p_equivalence_corrected", "margin", "detectable"]
    columns += ["gmacs_ratio", "verdict"]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for pair in pairs:
        cells = {name: "" if pair.test is None else _csv_cell(getattr(pair.test, name)) for name in figures}
        own = ("p_corrected", "p_equivalence_corrected", "margin", "detectable", "gmacs_ratio")
        cells |= {name: _csv_cell(getattr(pair, name)) for name in own}
        writer.writerow({"group": pair.group, "baseline": pair.baseline, **cells, "verdict": pair.verdict})
    return buffer.getvalue()


def _csv_cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _sizes_as_json(sizes: Mapping[str, PerAxis]) -> str:
    return json.dumps({name: [round(side, 3) for side in size] for name, size in sizes.items()})
