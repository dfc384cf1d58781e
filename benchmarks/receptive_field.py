"""Time and memory of `receptive_field` on every model of timm and torchvision, and operations without a rule.

    python benchmarks/receptive_field.py [--every 20] [--only NAME ...] [--fresh] [--out FILE]

Writes one row per model to benchmarks/results/receptive_field.csv; models that already have a row are skipped, so an
interrupted sweep can be continued. Weights are not allocated.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import gc
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

from benchmarks.appending import append, check_columns
from benchmarks.checkout import commit
from benchmarks.families import BUILD_ERRORS
from dynpool.analysis import receptive_field
from dynpool.conversion.coverage import build_model, coverage_names

RESULTS = Path(__file__).parent / "results" / "receptive_field.csv"
COLUMNS = (
    *("model", "input_size", "seconds", "cpu_seconds", "megabytes", "layers", "i_min", "i_max", "aligned"),
    *("not_understood", "error", "machine", "torch", "commit"),
)

_TWO_FRAMES = ("raft_large", "raft_small")
_VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b")
_DETECTION = ("rcnn", "retinanet", "ssd", "fcos")


def example(name: str, own: tuple[int, ...]) -> dict[str, Any]:
    """The arguments of `receptive_field` for a model of that name and input size."""
    library, _, short = name.partition(":")
    if library == "timm":
        return {"input_size": own}
    if short in _TWO_FRAMES:
        return {"input_size": [own, own]}
    if short in _VIDEO:
        return {"input_size": (3, 16, 224, 224)}
    if any(part in short for part in _DETECTION):
        side = 300 if "300" in short else 320
        return {"input_size": (3, side, side), "inputs": ([torch.empty(3, side, side, device="meta")],)}
    return {"input_size": own}


@functools.cache
def environment() -> dict[str, object]:
    """Machine, PyTorch and commit; cached at the start, as files may change during the sweep."""
    machine = f"{platform.machine()} {os.cpu_count()} cores"
    return {"machine": machine, "torch": torch.__version__, "commit": commit()}


def _megabytes(key: str) -> float:
    """Memory of this process on Linux in MB: VmRSS is the current, VmHWM the peak resident size."""
    status = Path("/proc/self/status")
    found = re.search(rf"{key}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else float("nan")


def _forget_peak() -> None:
    """Reset VmHWM."""
    with contextlib.suppress(OSError):  # not Linux, or not permitted: the column is then the peak of the whole run
        Path("/proc/self/clear_refs").write_text("5")


def row(name: str) -> dict[str, object]:
    """The row of one model."""
    found: dict[str, object] = dict.fromkeys(COLUMNS, "") | environment()
    found["model"] = name
    try:
        model, own = build_model(name, "meta")
        arguments = example(name, own)
    except BUILD_ERRORS as error:
        return found | {"error": f"not built: {type(error).__name__}: {error}"[:200]}
    found["input_size"] = "x".join(map(str, arguments["input_size"]))
    gc.collect()
    _forget_peak()
    before = _megabytes("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    try:
        report = receptive_field(model, **arguments)
    except Exception as error:  # noqa: BLE001 - a failing model must not end the sweep; its row has the error
        return found | {"error": f"{type(error).__name__}: {error}"[:200]}
    return found | {
        "seconds": f"{time.perf_counter() - start:.3f}",
        "cpu_seconds": f"{time.process_time() - cpu:.3f}",
        "megabytes": f"{_megabytes('VmHWM') - before:.0f}",
        "layers": len(report.layers),
        "i_min": "x".join(f"{v:g}" for v in report.i_min),
        "i_max": "x".join(f"{v:g}" for v in report.i_max),
        "aligned": report.aligned,
        "not_understood": " ".join(f"{op}:{n}" for op, n in sorted(report.not_understood.items())),
    }


def done(path: Path) -> set[str]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {line["model"] for line in csv.DictReader(file)}


def sweep(wanted: list[str], path: Path) -> Iterator[dict[str, object]]:
    """The rows of all models that have none yet, each written to the file at once."""
    check_columns(path, COLUMNS)
    before = done(path)
    for name in wanted:
        if name not in before:
            found = row(name)
            append(path, COLUMNS, [found])
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only every n-th model")
    parser.add_argument("--only", nargs="*", help="only these models, such as torchvision:resnet50")
    parser.add_argument("--fresh", action="store_true", help="discard existing rows")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    environment()
    if options.fresh:
        options.out.unlink(missing_ok=True)
    for found in sweep(options.only or coverage_names()[:: options.every], options.out):
        if found["error"] or found["not_understood"]:
            print(found["model"], found["error"] or found["not_understood"], flush=True)
    with options.out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"{len(rows)} models, {sum(bool(r['error']) for r in rows)} with an error, ", end="")
    print(f"{sum(bool(r['not_understood']) for r in rows)} with an operation without a rule")
    for column in ("seconds", "cpu_seconds", "megabytes"):
        values = sorted(float(r[column]) for r in rows if r[column])
        print(f"{column}: median {statistics.median(values):g}, largest {values[-1]:g}")


if __name__ == "__main__":
    main()
