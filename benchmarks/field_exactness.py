"""Compares the receptive fields of sixty networks with gradients, layer by layer, to the pixel.

    python -m benchmarks.field_exactness [NAME ...]

Writes one row per network to benchmarks/results/field_exactness.csv; with names, only their rows are replaced. The exit
code is 1 if any network differs.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch

from tests.analysis.fields.networks import NETWORKS, build, compare

COLUMNS = ("network", "input", "layers", "positions", "regions", "shortest", "mismatches")
RESULTS = Path(__file__).parent / "results" / "field_exactness.csv"


def main() -> int:
    torch.manual_seed(0)
    rows = {row["network"]: row for row in _read()}
    wanted = sys.argv[1:] or list(NETWORKS)
    wrong = 0
    for name in wanted:
        side = NETWORKS[name]
        found = compare(build(name), (3, side, side))
        wrong += bool(found.mismatches)
        figures = (name, side, found.layers, found.positions, found.regions, found.shortest, len(found.mismatches))
        rows[name] = dict(zip(COLUMNS, map(str, figures), strict=True))
        print(*figures, *found.mismatches[:3], sep="  ", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in NETWORKS if name in rows)
    print(f"{len(wanted)} networks: {wrong} differ")
    return int(wrong > 0)


def _read() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    raise SystemExit(main())
