"""What a run found, in at most 40 lines: for each part what passed, what did not, and the worst rows."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from benchmarks.gpu.rows import FAILED, MISSED, SKIPPED, STATES, path_of
from benchmarks.gpu.runner import Outcome

__all__ = ["LINES", "failed", "read_rows", "summarise"]

LINES, _WIDTH = 40, 240
_SHOWN = {FAILED: 5, MISSED: 3}  # rows of a part

Row = Mapping[str, str]


def read_rows(out: Path, part: str) -> list[Row]:
    """The rows that a part has written."""
    path = path_of(out, part)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["state"] in STATES]  # the last one may be cut off


def failed(outcomes: Sequence[Outcome], out: Path) -> bool:
    """Whether a part did not end by itself, or a row says that something is wrong."""
    if any(outcome.ended != "done" for outcome in outcomes):
        return True
    return any(row["state"] == FAILED for outcome in outcomes for row in read_rows(out, outcome.part))


def summarise(outcomes: Sequence[Outcome], out: Path) -> str:
    """The summary of these parts, from the rows that they have written."""
    found = {outcome.part: read_rows(out, outcome.part) for outcome in outcomes}
    lines = [_where(found)]
    for outcome in outcomes:
        rows = found[outcome.part]
        lines.append(_part_line(outcome, rows))
        if outcome.ended in ("crashed", "killed"):
            lines += [f"    last said: {line.strip()}" for line in outcome.said[-1:]]
        lines += [f"    {line}" for line in _DIGESTS.get(outcome.part, _nothing)(rows)]
        lines += [f"    {line}" for line in _worst(rows)]
    lines.append("something FAILED" if failed(outcomes, out) else "nothing failed")
    if len(lines) > LINES:
        lines = [*lines[: LINES - 2], "... (the rest is in the rows)", lines[-1]]
    return "".join(f"{line[:_WIDTH]}\n" for line in lines)


def _where(found: Mapping[str, Sequence[Row]]) -> str:
    first = next((row for rows in found.values() for row in rows), None)
    if first is None:
        return "no rows were written"
    versions = ", ".join(f"{name} {first[name]}" for name in ("torch", "triton", "numpy", "python", "commit"))
    return f"{first['device']}: {versions}, {first['date']}"


def _part_line(outcome: Outcome, rows: Sequence[Row]) -> str:
    if outcome.ended == "not begun":
        return f"{outcome.part}: not begun, no time was left"
    counts = Counter(row["state"] for row in rows)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no rows"
    compiled = f"; {outcome.compiled} kernels compiled" if outcome.compiled or outcome.part == "warm" else ""
    ended = outcome.ended if outcome.ended == "done" else outcome.ended.upper()
    return f"{outcome.part}: {ended} after {outcome.seconds:.0f} s of {outcome.limit:.0f}: {said}{compiled}"


def _worst(rows: Sequence[Row]) -> list[str]:
    """The rows that failed, those that missed their target by most, and in one line what was skipped."""
    lines = []
    for state, most in _SHOWN.items():
        bad = sorted((row for row in rows if row["state"] == state), key=_reached)
        lines += [f"{_loud(row)}: {row['what']}{_share(row)} {row['note']}".rstrip() for row in bad[:most]]
        lines += [f"and {len(bad) - most} more {state}"] * (len(bad) > most)
    skipped = [f"{row['what']} ({row['note']})" for row in rows if row["state"] == SKIPPED]
    return [*lines, f"skipped: {'; '.join(skipped)}"] if skipped else lines


def _loud(row: Row) -> str:
    return row["state"].upper() if row["state"] == FAILED else row["state"]


def _share(row: Row) -> str:
    return f", {_reached(row):.0%} of its target" if row["reached"] and row["state"] == MISSED else ""


def _reached(row: Row) -> float:
    return float(row["reached"]) if row["reached"] else 0.0


# ------------------------------------------------------------------------------------------- what only some parts have


def _nothing(rows: Sequence[Row]) -> list[str]:
    return []


def _headline(rows: Sequence[Row]) -> list[str]:
    """Geometric means over maps beyond the cache: of the fraction of copy by layout, of the speed beside others."""
    lines = []
    ours = [row for row in rows if row["ours"] == "True" and row["small"] == "False"]
    for passes in dict.fromkeys(row["passes"] for row in ours):
        parts = []
        for kind in dict.fromkeys((row["dtype"], row["layout"]) for row in ours):
            found = [row for row in ours if (row["passes"], row["dtype"], row["layout"]) == (passes, *kind)]
            if found:
                parts.append(f"{' '.join(kind)} {_mean(found, 'fraction_of_copy'):.0%} ({len(found)} maps)")
        lines.append(f"{passes}, of copy: {'; '.join(parts)}")
    others = [row for row in rows if row["ours"] == "False" and row["small"] == "False"]
    others = [row for row in others if not row["way"].startswith("copy") and not row["way"].endswith("contiguous")]
    for passes in dict.fromkeys(row["passes"] for row in others):
        names = dict.fromkeys(row["way"] for row in others if row["passes"] == passes)
        speeds = []
        for name in names:
            found = [row for row in others if (row["passes"], row["way"]) == (passes, name)]
            speeds.append(f"{_mean(found, 'times_ours'):.2f} x {name} ({len(found)})")
        lines.append(f"{passes}, our speed: {'; '.join(speeds)}")
    hosts = [float(row["host"]) for row in rows if row["ours"] == "True" and row["small"] == "True" and row["host"]]
    return [*lines, f"small maps: the host issues a call in {statistics.median(hosts):.0f} us"] if hosts else lines


def _mean(rows: Sequence[Row], column: str) -> float:
    values = [float(row[column]) for row in rows if row[column]]
    values = [value for value in values if value > 0 and math.isfinite(value)]
    return statistics.geometric_mean(values) if values else math.nan


def _step(rows: Sequence[Row]) -> list[str]:
    """One line for each network and size of its images: the step's time with each way to resize, beside its peer."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows if row["p50"]):
        found = [row for row in rows if row["network"] == network and row["p50"]]
        times = [f"{row['way']} {float(row['p50']) / 1e3:.1f} ms" + _beside(row) for row in found]
        lines.append(f"{network}: {'; '.join(times)}")
    return lines


def _beside(row: Row) -> str:
    return f" ({float(row['of_peer']):.2f} of {row['peer']})" if row["peer"] else ""


def _cifar(rows: Sequence[Row]) -> list[str]:
    """The last epoch of each run."""
    last = {row["run"]: row for row in rows if row["epoch"]}
    runs = [f"{run} {float(row['test_accuracy']):.1%} at {row['gmacs']} GMACs" for run, row in last.items()]
    epochs = sorted({f"{row['epoch']}/{row['epochs']}" for row in last.values()})
    return [f"epochs: {', '.join(epochs)}", *runs] if runs else []


def _profile(rows: Sequence[Row]) -> list[str]:
    """One line for each kernel."""
    lines = []
    for kernel in dict.fromkeys(row["kernel"] for row in rows if row["figure"]):
        found = [f"{row['what']} {row['figure']} {row['unit']}".strip() for row in rows if row["kernel"] == kernel]
        lines.append(f"{kernel}: {', '.join(dict.fromkeys(found))}")
    return lines


_DIGESTS: Mapping[str, Callable[[Sequence[Row]], list[str]]] = MappingProxyType(
    {"headline": _headline, "step": _step, "cifar": _cifar, "profile": _profile}
)
