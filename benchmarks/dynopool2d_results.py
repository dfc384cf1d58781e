"""Rows of the operator's benchmark: the CSV file, a roofline plot and a summary."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.appending import append, check_columns
from benchmarks.checkout import environment

__all__ = ["BOTH", "COPY", "EAGER", "GRID", "OURS", "PEER", "POOL", "Results", "Row", "draw", "summarise"]

OURS, COPY, EAGER = "dynopool2d", "copy of as many bytes", "interpolate + max_pool2d"
GRID, POOL = "grid_sample + max_pool2d", "max_pool2d"
PEER = f"{EAGER}, contiguous"
BOTH = "forward + backward"


@dataclass(frozen=True)
class Row:
    """The result of one way to resize one map. Times are in microseconds, memory in bytes beyond the inputs."""

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
    """A list of rows, each printed and appended to a CSV file when it is added.

    Raises:
        ValueError: the file is there, with other columns.
    """

    def __init__(self, folder: Path) -> None:
        self.rows: list[Row] = []
        self.path = folder / "dynopool2d_cpu.csv"
        self.where = environment("cpu")
        self.columns = [field.name for field in fields(Row)] + ["threads", *self.where]
        check_columns(self.path, self.columns)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        size = f"{row.n}x{row.channels}x{row.height}->{row.out_height} {row.dtype} {row.layout} {row.passes}"
        memory = "" if row.peak_memory is None else f" {row.peak_memory / 2**20:9.1f} MiB"
        numbers = f"{row.p50:11.1f} us {row.fraction_of_copy:6.1%} of copy {row.of_composition:5.2f} of composition"
        print(f"{numbers}{memory}  {row.what}: {size}", flush=True)
        figures = {**_short(asdict(row)), "threads": torch.get_num_threads(), **self.where}
        append(self.path, self.columns, [figures])


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw a roofline: achieved bandwidth on `floor_bytes` against `floor_bytes` for each way; the copy is the roof."""
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
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))  # on a CPU the maps span less than a decade
        axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.grid(True, which="major", alpha=0.3)
    axes[0][0].set_ylabel("those bytes per time (GB/s)")
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title=f"roof: {COPY}")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def summarise(rows: Sequence[Row]) -> None:
    """Print the operator's speed relative to each other way (geometric mean over all maps), and its slowest map."""
    both = [row for row in rows if row.passes == BOTH]
    ours = {row.map: row for row in both if row.what == OURS}
    print(f"\n{BOTH} of {OURS}, geometric mean over {len(ours)} maps:")
    for name in dict.fromkeys(row.what for row in both if row.what != OURS):
        speed = statistics.geometric_mean(row.p50 / ours[row.map].p50 for row in both if row.what == name)
        print(f"  {speed:6.2f} x the speed of {name}")
    worst = max(ours.values(), key=lambda own: own.of_composition, default=None)
    if worst is not None:
        print(f"slowest compared with {PEER}: {worst.of_composition:.2f} times its time, at {worst.map}")
