"""The rows behind docs/representations.md: what `dynpool inspect` found of the networks of a comparison.

    dynpool compare configs/digits-tails.yaml --out runs/digits-tails
    dynpool inspect runs/digits-tails --probes --saturation --cka
    python -m benchmarks.inspected runs/digits-tails

Writes to benchmarks/results/, NAME being the folder's: representations_NAME.csv, a row per network and layer;
representations_NAME_networks.csv, a row per network; and where they were measured representations_NAME_pruning.csv, a
row per network and amount, representations_NAME_hessian.csv, a row per network, moment and rank, and
representations_NAME_cka.csv, a row per pair of networks and layer of both.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks.digits import MACHINE
from dynpool.analysis import InspectionReport
from dynpool.analysis.comparison.read_runs import Run, find_runs, read_run
from dynpool.analysis.representations import read_pruning, read_report, read_similarity, read_spectrum

RESULTS = Path(__file__).parent / "results"
OUT = "inspection"

Row = dict[str, object]


def layer_rows(run: Run, report: InspectionReport) -> Iterator[Row]:
    """A row per layer."""
    for row in report.rows:
        fields = {
            f"{name}_{axis}": None if field is None else field[k]
            for name, field in (("r_min", row.r_min), ("r_max", row.r_max_local))
            for k, axis in enumerate("hw")
        }
        yield {
            **network_of(run), "layer": row.name, "probe": None if row.probe is None else row.probe.accuracy,
            "converged": None if row.probe is None else row.probe.converged,
            "saturation": None if row.saturation is None else row.saturation.share, **fields,
            "unproductive": row.unproductive,
        }  # fmt: skip


def network_of(run: Run) -> Row:
    """The columns that name a network."""
    return {"network": run.folder.name, "method": run.group, "seed": run.seed}


def network_row(run: Run, report: InspectionReport) -> Row:
    """The predicted border and the observed tail of a network."""
    sessions = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))["sessions"]
    tail, border = report.tail, report.border.r_min
    count = len(tail.layers)
    return {
        **network_of(run),
        "epochs": run.last.epoch,
        "accuracy": report.accuracy,
        "gmacs": run.last.gmacs,
        "i_min_h": run.last.i_min[0],
        "i_min_w": run.last.i_min[1],
        "layers": count,
        "border": border,
        "predicted_tail": count - tail.index(border if border in tail.layers else None),
        "solved": tail.solved,
        "observed_tail": len(tail.tail) if tail.solved is not None else None,
        "low_saturation": tail.low_saturation,
        "probe_images": report.probe_images,
        "held_out_images": report.test_images,
        **{key: sessions[-1][key] for key in MACHINE},
    }


def write(name: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows to benchmarks/results/representations_NAME.csv; nothing without rows."""
    listed = list(rows)
    if not listed:
        return
    path = RESULTS / f"representations_{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        for row in listed:
            writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()})
    print(f"{len(listed)} rows in {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a comparison that was inspected")
    folder = parser.parse_args().folder
    runs = [read_run(path) for path in find_runs([folder]) if (path / OUT / "inspection.json").exists()]
    reports = [read_report(run.folder / OUT / "inspection.json") for run in runs]
    name = folder.name
    pairs = list(zip(runs, reports, strict=True))
    write(name, (row for run, report in pairs for row in layer_rows(run, report)))
    write(f"{name}_networks", (network_row(run, report) for run, report in pairs))
    write(
        f"{name}_pruning",
        (
            {**network_of(run), "amount": row.amount, "accuracy": row.score, "fine_tuned": row.score_after}
            for run in runs
            for path in run.folder.glob(f"{OUT}/pruning/pruning.json")
            for row in read_pruning(path).rows
        ),
    )
    write(
        f"{name}_hessian",
        (
            {**network_of(run), "moment": path.parent.name, "rank": rank, "eigenvalue": value}
            for run in runs
            for path in sorted(run.folder.glob(f"{OUT}/hessian/*/hessian.json"))
            for rank, value in enumerate(read_spectrum(path).eigenvalues, 1)
        ),
    )
    found = {path.parent.name: read_similarity(path) for path in sorted(folder.glob(f"{OUT}/cka/*/cka.json"))}
    write(
        f"{name}_cka",
        (
            {"networks": pair, "layer": a, "cka": value, "border": report.border_layer_a}
            for pair, report in found.items()
            for a, row in zip(report.layers_a, report.values, strict=True)
            for b, value in zip(report.layers_b, row, strict=True)
            if a == b
        ),
    )


if __name__ == "__main__":
    main()
