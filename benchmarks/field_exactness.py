"""Receptive fields of sixty networks beside what gradients see, layer by layer, to the pixel.

    python -m benchmarks.field_exactness [NAME ...]

One row a network goes to benchmarks/results/field_exactness.csv, which is written anew; the status is 1 if any differs.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch

from tests.analysis.networks import NETWORKS, build, compare

RESULTS = Path(__file__).parent / "results" / "field_exactness.csv"


def main() -> int:
    wanted = sys.argv[1:] or list(NETWORKS)
    torch.manual_seed(0)
    rows = []
    positions = wrong = 0
    for name in wanted:
        side = NETWORKS[name]
        found = compare(build(name), (3, side, side))
        positions += found.positions
        wrong += bool(found.mismatches)
        rows.append([name, side, found.layers, found.positions, found.regions, found.shortest, len(found.mismatches)])
        print(*rows[-1], *found.mismatches[:3], sep="  ", flush=True)
    if not sys.argv[1:]:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["network", "input", "layers", "positions", "regions", "shortest", "mismatches"])
            writer.writerows(rows)
    print(f"{len(rows)} networks, {positions} positions: {wrong} networks differ")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
