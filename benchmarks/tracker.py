"""Time of one call of `IMinTracker.log`.

    python benchmarks/tracker.py [--calls 500]

Networks of torchvision are converted for 224x224 pixels. Between the calls every alpha changes by 0.1 %, as in training
("alphas"), or by 10 %, so that every size changes ("sizes"). One row for each goes to benchmarks/results/tracker.csv:
wall time and CPU time in microseconds, without the first call.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.checkout import commit
from dynpool.analysis import IMinTracker

RESULTS = Path(__file__).parent / "results" / "tracker.csv"
NETWORKS = ("resnet50", "vgg16", "mobilenet_v2", "densenet121", "efficientnet_b0")
SIZE = (3, 224, 224)


def measure(name: str, calls: int, factor: float) -> dict[str, object]:
    """Median, 95th percentile and maximum of all calls but the first, in microseconds."""
    torch.manual_seed(0)
    model = dynpool.convert(torchvision.models.get_model(name, weights=None), SIZE)
    resolutions = dynpool.resolutions(model).values()
    clock, processor = [], []
    with tempfile.TemporaryDirectory() as folder:
        tracker = IMinTracker(model, SIZE, Path(folder) / "i_min.jsonl")
        for step in range(calls + 1):
            with torch.no_grad():
                for resolution in resolutions:
                    resolution.alpha.mul_(factor if step % 2 else 1 / factor)
            started, used = time.perf_counter(), time.process_time()
            tracker.log(step)
            clock.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
    found: dict[str, object] = {"network": name, "moved": "alphas" if factor < 1.01 else "sizes", "calls": calls}
    for what, seconds in (("clock", clock[1:]), ("processor", processor[1:])):
        ordered = [round(1e6 * s) for s in sorted(seconds)]
        found |= {f"{what}_median": round(statistics.median(ordered)), f"{what}_p95": ordered[int(0.95 * calls)]}
        found[f"{what}_max"] = ordered[-1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = {"machine": f"{platform.machine()} {os.cpu_count()} cores", "torch": torch.__version__, "commit": commit()}
    rows = []
    for name in NETWORKS:
        for factor in (1.001, 1.1):
            rows.append(measure(name, options.calls, factor) | made)
            print(*rows[-1].values(), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
