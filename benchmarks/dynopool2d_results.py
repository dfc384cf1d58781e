"""Rows of the operator's benchmark: written as they come, drawn as a roofline, summed up beside the targets."""

from __future__ import annotations

import csv
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkout import commit

__all__ = ["BOTH", "COPY", "EAGER", "GRID", "OURS", "PEER", "POOL", "Results", "Row", "draw", "summarise"]

OURS, COPY, EAGER = "dynopool2d", "copy of as many bytes", "interpolate + max_pool2d"
GRID, POOL = "grid_sample + max_pool2d", "max_pool2d"
PEER = f"{EAGER}, contiguous"
BOTH = "forward + backward"
TARGETS = {COPY: 0.8, EAGER: 4.0, f"{EAGER}, compiled": 1.5, GRID: 10.0, POOL: 1.0}  # times as fast, BOTH, large maps


@dataclass(frozen=True)
class Row:
    """What is written for one way to resize one map. Times in microseconds, memory in bytes beyond the inputs."""

    what: str
    n: int
    channels: int
    height: int
    out_height: int
    alpha: float
    dtype: str
    layout: str
    passes: str
    p20: float
    p50: float
    p80: float
    floor_bytes: int
    fraction_of_copy: float
    of_composition: float
    host: float | None
    peak_memory: int | None

    @property
    def map(self) -> tuple[object, ...]:
        return self.n, self.channels, self.height, self.out_height, self.dtype, self.layout, self.passes


class Results:
    """The rows so far, each printed and added to a CSV file as it comes."""

    def __init__(self, device: str, folder: Path) -> None:
        self.rows: list[Row] = []
        self.path = folder / ("dynopool2d.csv" if device == "cuda" else "dynopool2d_cpu.csv")
        self.where: dict[str, Any] = {
            "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU ({_processor()})",
            "torch": torch.__version__,
            "cuda": torch.version.cuda if device == "cuda" else "",
            "python": platform.python_version(),
            "system": platform.platform(),
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d"),
        }

    def add(self, row: Row) -> None:
        self.rows.append(row)
        size = f"{row.n}x{row.channels}x{row.height}->{row.out_height} {row.dtype} {row.layout} {row.passes}"
        memory = "" if row.peak_memory is None else f" {row.peak_memory / 2**20:9.1f} MiB"
        numbers = f"{row.p50:11.1f} us {row.fraction_of_copy:6.1%} of copy {row.of_composition:5.2f} of composition"
        print(f"{numbers}{memory}  {row.what}: {size}", flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)] + ["threads", *self.where])
            if new:
                writer.writeheader()
            writer.writerow({**_short(asdict(row)), "threads": torch.get_num_threads(), **self.where})


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # of Linux alone
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Achieved bandwidth on the floor's bytes against those bytes, for each way; the copy is the roof."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    if not rows:
        return
    kinds = sorted({row.passes for row in rows})
    figure, axes = plt.subplots(1, len(kinds), figsize=(6.4 * len(kinds), 4.8), sharey=True, squeeze=False)
    for axis, passes in zip(axes[0], kinds, strict=True):
        for name in dict.fromkeys(row.what for row in rows if row.passes == passes):
            points = sorted(
                (row.floor_bytes / 1e6, row.p50) for row in rows if (row.what, row.passes) == (name, passes)
            )
            style = {COPY: {"color": "black", "marker": "_", "s": 60}, OURS: {"color": "tab:red", "zorder": 3}}
            heights = [size / us * 1e3 for size, us in points]
            axis.scatter([size for size, _ in points], heights, label=name, **{"s": 14, **style.get(name, {})})
        axis.set(xscale="log", yscale="log", title=passes, xlabel="bytes that must move (MB)")
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))  # CPUs' maps span less than a decade
        axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.grid(True, which="major", alpha=0.3)
    axes[0][0].set_ylabel("those bytes per time (GB/s)")
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title=f"roof: {COPY}")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def summarise(rows: Sequence[Row], device: str) -> None:
    """Geometric means over the maps well beyond the cache, beside the targets set for an H200; and the small maps."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size if device == "cuda" else 0
    large = [row for row in rows if row.passes == BOTH and row.floor_bytes > 4 * cache]
    ours = {row.map: row for row in rows if row.what == OURS}
    print(f"\n{BOTH} of {OURS}, geometric means over maps of more than {4 * cache} bytes:")
    for name in dict.fromkeys(row.what for row in large if row.what != OURS):
        pairs = [(row, ours[row.map]) for row in large if row.what == name]
        speed = statistics.geometric_mean(row.p50 / own.p50 for row, own in pairs)
        target = f"  (target: {TARGETS[name]})" if name in TARGETS and device == "cuda" else ""
        memory = [own.peak_memory / row.peak_memory for row, own in pairs if row.peak_memory and own.peak_memory]
        extra = f"; {statistics.geometric_mean(memory):5.2f} x its peak memory" if memory else ""
        print(f"  {speed:6.2f} x the speed of {name}{target}{extra}")
    worst = max((own for own in ours.values() if own.passes == BOTH), key=lambda own: own.of_composition, default=None)
    if worst is not None:
        print(f"slowest beside {PEER}: {worst.of_composition:.2f} of its time, at {worst.map}")
    for name in dict.fromkeys(row.what for row in rows if row.passes == BOTH):
        hosts = [row.host for row in rows if (row.what, row.passes) == (name, BOTH) and row.host is not None]
        if hosts:
            print(f"  {statistics.median(hosts):6.0f} us in which the host issues {name} (median of {len(hosts)} maps)")
    for row in rows:
        if row.what == f"VGG-16 with {OURS}":
            print(f"VGG-16 step at {row.height} pixels: {row.of_composition:.3f} of that with {POOL} (target: 1.03)")
