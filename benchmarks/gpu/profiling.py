"""Part "profile": Nsight Compute on the map that missed its target by most in the headline of the same folder.

A row for each kernel and metric; or one that says why there are none.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

import dynpool
from benchmarks.dynopool2d import Case
from benchmarks.dynopool2d_results import BOTH
from benchmarks.gpu.context import Context
from benchmarks.gpu.rows import MEASURED, MISSED, SKIPPED, Rows, path_of
from benchmarks.gpu.summary import read_rows

__all__ = ["find_profiler", "main", "metrics"]

COLUMNS = ("kernel", "figure", "unit")
METRICS = (
    "gpu__time_duration.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "smsp__issue_active.avg.pct_of_peak_sustained_active",
    "smsp__inst_executed.sum",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "launch__registers_per_thread",
)
KERNELS = "regex:^(halves_)?(forward|backward|alpha)_kernel"
LAUNCHES = 6


def main(context: Context) -> None:
    """Profile one map."""
    with Rows(path_of(context.out, "profile"), COLUMNS, context.device) as rows:
        missed = [row for row in read_rows(context.out, "headline") if row["ours"] == "True" and row["state"] == MISSED]
        if not missed:
            rows.add("nothing", SKIPPED, note="no map of the headline missed its target")
            return
        worst = min(missed, key=lambda row: float(row["reached"]))
        profiler = find_profiler()
        if profiler is None:
            rows.add(worst["what"], SKIPPED, note="ncu is not installed")
            return
        command = [
            profiler, "--csv", "--metrics", ",".join(METRICS), "--clock-control", "none",
            "--kernel-name", KERNELS, "--launch-count", str(LAUNCHES),
            sys.executable, "-m", "benchmarks.gpu.profiling", *_case_words(worst),
        ]  # fmt: skip
        print(f"begin {' '.join(command)}", flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = list(metrics(done.stdout.splitlines()))
        for kernel, metric, figure, unit in found:
            rows.add(metric, MEASURED, kernel=kernel, figure=figure, unit=unit, note=worst["what"])
        if not found:
            said = (done.stdout + done.stderr).strip()[-300:]
            rows.add(worst["what"], SKIPPED, note=f"ncu ended with code {done.returncode} and no metrics: {said}")


def find_profiler() -> str | None:
    """Nsight Compute's command, where its installers put it."""
    folders = [Path("/usr/local/cuda/bin"), *sorted(Path("/opt/nvidia/nsight-compute").glob("*"), reverse=True)]
    return shutil.which("ncu") or next((found for f in folders if (found := shutil.which("ncu", path=str(f)))), None)


def metrics(lines: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """(kernel, metric, figure, unit) from what ncu prints with --csv, among what the program itself prints."""
    start = next((number for number, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    for row in csv.DictReader(lines[start:]):
        if row.get("Metric Name"):
            yield row["Kernel Name"], row["Metric Name"], row["Metric Value"], row["Metric Unit"]


def _case_words(row: Mapping[str, str]) -> list[str]:
    """A row of the headline as arguments of this module."""
    return [row[name] for name in ("n", "channels", "height", "alpha", "dtype", "layout")] + [
        str(int(row["passes"] == BOTH))
    ]


def _case(words: Sequence[str]) -> Case:
    n, channels, pixels, alpha, dtype, layout, backward = words
    return Case(
        int(n), int(channels), int(pixels), float(alpha),
        getattr(torch, dtype), getattr(torch, layout), bool(int(backward)),
    )  # fmt: skip


def _run(case: Case, device: str) -> None:
    """Twice what is profiled."""
    x, alpha, dy = case.tensors(device)
    for _ in range(2):
        with torch.set_grad_enabled(case.backward):
            y = dynpool.dynopool2d(x, alpha, size=case.size)
            if case.backward:
                torch.autograd.grad(y, (x, alpha), dy)


if __name__ == "__main__":
    _run(_case(sys.argv[1:]), "cuda")
