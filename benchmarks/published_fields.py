"""Computes published receptive fields again, and writes docs/receptive_fields.md.

    python -m benchmarks.published_fields [--page]

The printed values are in benchmarks/published/, the computed ones go to benchmarks/results/published_fields.csv. With
`--page` nothing is computed and the page is written from the existing results.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.published_networks import network, resnet50_small_stem, vgg11_wide_pools
from benchmarks.published_page import PAGE, page
from dynpool.analysis import effective_receptive_field, receptive_field
from dynpool.baselines import refine

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "published_fields.csv"
COLUMNS = ("table", "row", "quantity", "printed", "computed")

Row = dict[str, str]
Found = dict[str, tuple[str, object]]  # quantity -> (printed, computed)


def printed(table: str) -> list[Row]:
    """The rows of a published table, each with the name of its network."""
    with (HERE / "published" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _table7(row: Row) -> Found:
    report = receptive_field(network(row["network"]), (3, int(row["pixels"]), int(row["pixels"])))
    return {"i_min_table7": (row["i_min"], report.i_min_table7[0]), "i_min": (row["i_min"], report.i_min[0])}


def _distill(row: Row) -> Found:
    """The values of the layer with the largest field, the last one except for parallel branches."""
    if not row["network"]:
        return {}
    report = receptive_field(network(row["network"]), (3, int(row["pixels"]), int(row["pixels"])))
    last = max(report.layers, key=lambda layer: layer.r_max)
    return {
        "receptive field": (row["receptive_field"], last.r_max[0]),
        "effective stride": (row["stride"], last.effective_stride[0]),
        "effective padding": (row["padding"], last.effective_padding[0]),
    }


def _edits(row: Row) -> Found:
    size = (3, int(row["pixels"]), int(row["pixels"]))
    model = network(row["network"])
    refined, plan = refine(model, size, edits=row["edit"])
    before, after = receptive_field(model, size), receptive_field(refined, size)
    layers = [layer for layer in after.layers if layer.kernel[0] > 1]
    in_front = max(max(layer.r_min_in[0], layer.kernel[0] * layer.effective_stride[0]) for layer in layers)
    return {
        "i_min before": (row["i_min_before"], plan.i_min_before[0]),
        "i_min_table7 before": (row["i_min_before"], before.i_min_table7[0]),
        "i_min after": (row["i_min_after"], plan.i_min_after[0]),
        "in front of layers": (row["i_min_after"], in_front),
    }


def _projection(row: Row) -> Found:
    torch.manual_seed(0)
    make = {"vgg11_wide_pools": vgg11_wide_pools, "resnet50_small_stem": resnet50_small_stem}[row["network"]]
    model = make(int(row["stem_stride"]))
    report = receptive_field(model, (3, 64, 64))
    field = effective_receptive_field(model, (3, 64, 64), layer=report.layers[-1].name)
    return {
        "receptive field": (row["receptive_field"], report.i_max[0]),
        "largest projected gradient": (row["max_projected_gradient"], f"{max(field.max_projected_gradient):.3g}"),
    }


TABLES: dict[str, Callable[[Row], Found]] = {
    "table7": _table7,
    "distill": _distill,
    "edits": _edits,
    "projection": _projection,
}


def label(row: Row) -> str:
    stem = row.get("stem_stride")
    return row["architecture"] + (f", stem of stride {stem}" if stem else "")


def computed(table: str, row: Row) -> Iterator[Row]:
    """The lines of the results for one row of a table."""
    found = TABLES[table](row)
    for quantity, (was, now) in found.items():
        shown = f"{now:g}" if isinstance(now, float) else str(now)
        yield {"table": table, "row": label(row), "quantity": quantity, "printed": was, "computed": shown}


def main() -> None:
    if "--page" not in sys.argv[1:]:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for table in TABLES:
                for row in printed(table):
                    for line in computed(table, row):
                        writer.writerow(line)
                        print(*line.values(), flush=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
