"""What the driver of a comparison takes beside the training: seconds a run and memory, with runs that only leave files.

    python -m benchmarks.driver [--runs 250 1000]

A stub executor writes the files of a finished run, as `dynpool train` does, and tells its epochs; half of the runs wait
for another whose cost they match. Each part is measured for both numbers of runs, in a process of its own: making the
configurations, driving the runs, reading the runs and comparing them, writing the report. A row for each goes to
benchmarks/results/driver.csv: CPU seconds in all and of each run, the ratio of seconds a run to that with the fewest
runs (1 if nothing is quadratic), and the peak memory of the process by then.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkout import commit

RESULTS = Path(__file__).parent / "results" / "driver.csv"
EPOCHS = 4
AT_ONCE = 8  # runs

Row = dict[str, object]


class StubExecutor:
    """An executor whose runs are copies of the files of one run.

    Args:
        sample: a finished run's folder.
    """

    workers = AT_ONCE

    def __init__(self, sample: Path) -> None:
        self._files = {name: (sample / name).read_text() for name in ("metrics.csv", "i_min.jsonl", "environment.json")}
        self._done = json.loads((sample / "done.json").read_text())
        with (sample / "metrics.csv").open(newline="") as file:
            self._rows = [_as_told(row) for row in csv.DictReader(file)]
        self._running: list[Any] = []

    def start(self, run: Any) -> None:
        """Keep the run, until `wait` ends it."""
        self._running.append(run)

    def wait(self, tell: Callable[[Any], object]) -> None:
        """Write the files of the run that was started first, and tell its events."""
        from dynpool.analysis.common.checksums import with_checksum
        from dynpool.training.config_identity import to_dict
        from dynpool.training.executors.events import Ended, EpochEnded, Started
        from dynpool.training.files import write_yaml

        run = self._running.pop(0)
        run.folder.mkdir(parents=True, exist_ok=True)
        for name, text in self._files.items():
            (run.folder / name).write_text(text)
        write_yaml(run.folder / "config.yaml", to_dict(run) | {"input_size": [1, 16, 16]})
        done = {k: v for k, v in self._done.items() if k not in ("files", "checksum")} | {"name": run.name}
        (run.folder / "done.json").write_text(json.dumps(with_checksum(done)))
        tell(Started(run.name, run.epochs, 0, 1000))
        for row in self._rows:
            tell(EpochEnded(run.name, row))
        tell(Ended(run.name, done, str(run.folder)))

    def close(self) -> None:
        """Do nothing."""


def _as_told(row: dict[str, str]) -> Row:
    """A row of metrics.csv with numbers, as an executor tells it."""
    numbers = ("train_loss", "test_accuracy", "gmacs", "i_min_h", "i_min_w", "images_per_second")
    return {"epoch": int(row["epoch"]), **{key: float(row[key]) if row[key] else None for key in numbers}}


def compared(folder: Path, runs: int) -> Any:
    """A comparison of so many runs: five seeds, half of the grid points match the cost of the other half's."""
    from dynpool.training import ComparisonConfig

    points = runs // 10
    rates = [round(0.1 + k / 1000, 4) for k in range(points)]
    matches = [{"match": f"dynopool lr={rate}"} for rate in rates]
    return ComparisonConfig(
        methods=("dynopool", "random"), seeds=tuple(range(5)), epochs=EPOCHS, alpha_until=0.5, out=str(folder),
        grid={"dynopool": {"lr": rates}, "random": {"gmacs_budget": matches}}, pairs=(("random " + _label(rates[0]),
        f"dynopool lr={rates[0]}"),),
    )  # fmt: skip


def _label(rate: float) -> str:
    return f"gmacs_budget=match:dynopool lr={rate}"


def measure(runs: int, sample: Path) -> list[Row]:
    """A row for each part of the driver's work, in this process."""
    from rich.console import Console

    from dynpool.analysis.comparison import compare_runs, write_report
    from dynpool.training.config_file import run_configs
    from dynpool.training.driver import train_all
    from dynpool.training.matching import Queue
    from dynpool.training.progress_table import showing

    rows: list[Row] = []

    def timed(part: str, work: Callable[[], Any]) -> Any:
        begun, used = time.perf_counter(), time.process_time()
        found = work()
        seconds = time.process_time() - used
        rows.append(
            {
                "part": part,
                "runs": runs,
                "cpu_seconds": round(seconds, 3),
                "wall_seconds": round(time.perf_counter() - begun, 3),
                "ms_a_run": round(1e3 * seconds / runs, 3),
                "peak_mb": round(_peak() / 1e6, 1),
            }
        )
        return found

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        timed("modules alone", lambda: None)
        config = compared(folder, runs)
        entries = timed("configurations", lambda: run_configs(config))
        if len(entries) != runs:
            raise ValueError(f"runs is {runs}; allowed: multiples of 10, as this made {len(entries)}")

        def drive() -> None:
            epochs = {run.name: run.epochs for run, _ in entries}
            with open(os.devnull, "w") as nowhere, showing(Console(file=nowhere, force_terminal=True), epochs) as tell:
                failed = train_all(Queue(entries), StubExecutor(sample), tell, resume=False)
            if failed:
                raise RuntimeError(f"runs failed: {failed}")

        timed("driving the runs", drive)
        comparison = timed("reading and comparing", lambda: compare_runs([run.folder for run, _ in entries]))
        timed("report", lambda: write_report(comparison, folder))
    return rows


def _peak() -> int:
    """The most bytes of this process by now (getrusage would count those of its parent). Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def sample_run(folder: Path) -> Path:
    """A finished run, whose files all others get."""
    from dynpool.training import RunConfig, load_config, train

    options = [
        "--model.options.widths=[4,6,8]", "--data.variant=tile", "--data.resolution=16", "--data.test_fraction=0.9",
        f"--epochs={EPOCHS}", "--threads=1", "--device=cpu", "--alpha_until=0.5", "--out", str(folder),
    ]  # fmt: skip
    train(load_config(RunConfig, None, options)[0])
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # in this process, with this sample run
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.runs[0], options.measure)))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        sample = sample_run(Path(place) / "sample")
        for runs in sorted(options.runs):
            command = [sys.executable, "-m", "benchmarks.driver", "--runs", str(runs), "--measure", str(sample)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows += json.loads(done.stdout.splitlines()[-1])
    fewest = {row["part"]: row["ms_a_run"] for row in reversed(rows)}
    made = {"machine": f"{platform.machine()} {os.cpu_count()} cores", "torch": torch.__version__, "commit": commit()}
    for row in rows:
        least = float(str(fewest[row["part"]]))
        row["ratio"] = round(float(str(row["ms_a_run"])) / least, 2) if least else None
        row |= made
        print(*list(row.values())[:7])
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
