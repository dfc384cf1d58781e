"""How well `dynpool.LatencyModel` predicts the seconds of passes at sizes that were not measured.

    python -m benchmarks.latency [--models resnet18 ...] [--device cpu] [--threads 1]

For each network: the model is measured at 16 sets of sizes, then its predictions are compared with passes at 10 new
ones. On a quiet machine only. Writes benchmarks/results/latency.csv; rows of other devices stay.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from pathlib import Path

import torch
import torchvision

import dynpool

RESULTS = Path(__file__).parent / "results" / "latency.csv"
MODELS = {  # input size, batch, where the resize goes
    "resnet18": (64, 8, "before"),
    "resnet50": (96, 4, "before"),
    "vgg16": (64, 4, "after"),
    "mobilenet_v2": (96, 8, "before"),
    "densenet121": (96, 4, "before"),
}
COLUMNS = ["model", "input_size", "batch", "order", "device", "threads", "milliseconds", "mean_error", "largest_error"]
COLUMNS += ["bias", "seconds_to_measure", "machine", "torch", "dynpool"]


def measured(name: str, device: str) -> dict[str, object]:
    side, batch, order = MODELS[name]
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, num_classes=10).eval().to(device)
    model = dynpool.convert(network, (3, side, side), order=order)  # type: ignore[arg-type]
    begin = time.perf_counter()
    latency = dynpool.LatencyModel(model, (3, side, side), batch=batch)
    took = time.perf_counter() - begin
    errors = [check.error for check in latency.check(10)]
    row = {"model": name, "input_size": side, "batch": batch, "order": order, "device": str(latency.device)}
    row |= {"threads": torch.get_num_threads(), "milliseconds": f"{1e3 * latency.value():.3g}"}
    row |= {"mean_error": f"{sum(map(abs, errors)) / len(errors):.3f}", "largest_error": f"{max(map(abs, errors)):.3f}"}
    row |= {"bias": f"{sum(errors) / len(errors):.3f}", "seconds_to_measure": f"{took:.1f}"}
    on_gpu = torch.cuda.get_device_name() if latency.device.type == "cuda" else platform.machine()
    return row | {"machine": on_gpu, "torch": torch.__version__, "dynpool": dynpool.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for name in args.models:
        rows.append(measured(name, args.device))
        print(rows[-1])
    keys = {(row["model"], row["device"], str(row["threads"])) for row in rows}
    if args.out.exists():
        with args.out.open(newline="", encoding="utf-8") as file:
            old = list(csv.DictReader(file))
        rows = [row for row in old if (row["model"], row["device"], row["threads"]) not in keys] + rows
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
