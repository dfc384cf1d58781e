"""Short runs killed and damaged at random points, resumed, and compared with the run that was left alone.

    python -m benchmarks.faults --runs 200 [--seed 0] [--faults kill full ...] [--append]

Each run is trained with a small network on the digits. It suffers up to three faults, of one kind:

    kill       SIGKILL at a random time
    term       SIGTERM
    power      SIGKILL, then a file is cut off at a random place, or a half-written temporary file is left
    full       from a random write on there is no space left
    read-only  from a random write on nothing can be written
    clock      SIGKILL, then the clock of the next attempt is years off, as are the times of all files
    two        SIGKILL or SIGTERM of one of the two processes of a run (gloo)
    ray        SIGKILL of the process of a Ray task, which Ray starts again

After each fault all files in the folder must be whole, unless this program cut them. The steps of the optimiser that
were done and are not in the checkpoint are counted: none after SIGTERM, else `save_steps` at most. In the end rows,
I_min log and weights must equal those of the run that was left alone, to the bit.

Errors of the disk are raised at the system calls of writing. A row for each run goes to benchmarks/results/faults.csv.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.appending import append
from benchmarks.checkout import commit
from benchmarks.fault_attempts import EPOCHS, STEPS, Attempt, Clock, Failing, config_of, start_server
from benchmarks.fault_checks import broken_files, differences, saved_steps
from dynpool.analysis.common.atomic_files import SUFFIX
from dynpool.training import RunConfig
from dynpool.training.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results" / "faults.csv"
FAULTS = {"kill": 7, "term": 5, "power": 7, "full": 6, "read-only": 4, "clock": 4, "two": 5, "ray": 2}  # shares of runs


@dataclass
class Outcome:
    """One run: its fault, and what was found.

    Attributes:
        fault: the kind.
        seed: of its random choices.
        processes: of the run.
        save_steps: see the configuration of a run.
        faults: that it suffered.
        lost: the most optimiser steps that one of them cost.
        bound: the most that one may cost.
        refused: attempts that ended with an error that names a damaged file, which was then removed.
        seconds: of all attempts.
        wrong: what was not as it must be; empty if all was.
    """

    fault: str
    seed: int
    processes: int
    save_steps: int
    faults: int = 0
    lost: int = 0
    bound: int = 0
    refused: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Harness:
    """Runs that suffer faults, and those that are left alone.

    Args:
        place: an empty folder for all of them.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._alone: dict[int, tuple[Path, float]] = {}
        self._cut = False  # a file of the present run
        start_server()  # else it would count in the seconds of the first run, and most signals come too late

    def alone(self, processes: int) -> tuple[Path, float]:
        """The folder of the run that is left alone, and its seconds."""
        if processes not in self._alone:
            folder, begun = self._place / f"alone{processes}", time.monotonic()
            codes = Attempt(config_of(folder), processes).end()
            if set(codes) != {0}:
                raise RuntimeError(f"the run that is left alone ended with exit codes {codes}")
            self._alone[processes] = folder, time.monotonic() - begun
        return self._alone[processes]

    def run(self, fault: str, seed: int) -> Outcome:
        """A run that suffers faults of a kind."""
        draw = random.Random(f"{fault} {seed}")
        processes = 2 if fault == "two" else 1
        found = Outcome(fault, seed, processes, draw.choice([1, 2, 3]))
        folder = self._place / f"{fault}-{seed}"
        kept = [f"--save_steps={found.save_steps}", *["--checkpoint_every=1"] * (fault == "power")]
        config = config_of(folder, *kept)
        alone, seconds = self.alone(processes)
        begun, self._cut = time.monotonic(), False
        prepare: Callable[[], object] = int
        for _ in range(draw.choice([1, 2, 3])):
            self._suffer(found, config, fault, draw, seconds, prepare)
            if fault == "clock":
                prepare = Clock(draw.uniform(-3e8, 3e8))
                for path in folder.rglob("*"):
                    os.utime(path, (when := time.time() + draw.uniform(-3e8, 3e8), when))
        self._finish(found, config, processes, prepare)
        if not found.wrong:
            found.wrong += differences(folder, alone)
        found.seconds = round(time.monotonic() - begun, 1)
        if not found.wrong:
            shutil.rmtree(folder)
        return found

    def _suffer(
        self, found: Outcome, config: RunConfig, fault: str, draw: random.Random, seconds: float, prepare: Any
    ) -> None:
        """One attempt with one fault."""
        folder = config.folder
        if fault in ("full", "read-only"):
            prepare = Failing(fault, draw.randrange(1, 40))
        trial = Attempt(config, found.processes, prepare)
        number = signal.SIGKILL
        if fault in ("full", "read-only"):
            trial.wait()
        elif trial.wait(draw.uniform(0, 1.1 * seconds)):
            return  # it was faster
        else:
            number = draw.choice([signal.SIGTERM, signal.SIGKILL]) if fault == "two" else number
            number = signal.SIGTERM if fault == "term" else number
            victim = draw.choice(trial.processes)
            os.kill(victim.pid or 0, number)
        codes = trial.end()
        found.faults += 1
        if fault in ("full", "read-only") and codes == [0]:
            return
        allowed = {2} if fault in ("full", "read-only") else {0, 2, 75, -number}
        message = trial.message
        begun = trial.steps.value > 0  # before, a signal ends the process as usual
        if not set(codes) <= allowed or (number == signal.SIGTERM and begun and -number in codes):
            found.wrong.append(f"exit codes {codes} after {fault}: {message}")
        if not self._cut:  # what this program cut off is still there if the run was killed before it saw it
            found.wrong += [f"after {fault}: {name}" for name in broken_files(folder)]
            self._count(found, folder, fault, 0 if number == signal.SIGTERM else found.save_steps, trial.steps.value)
        if fault == "power":
            self._damage(folder, draw)

    def _count(self, found: Outcome, folder: Path, fault: str, bound: int, done: int) -> None:
        """Count the steps that were done and are not saved, of a run that is not finished."""
        if RunFolder(folder).finished() is not None:
            return
        lost = done - max(saved_steps(folder), 0)
        found.lost, found.bound = max(found.lost, lost), max(found.bound, bound)
        if lost > bound:
            found.wrong.append(f"{lost} steps lost after {fault}, of {done}; {bound} are allowed")

    def _damage(self, folder: Path, draw: random.Random) -> None:
        """Cut off one of the newest files, or leave the beginning of one that was being written."""
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        if not files:
            return
        path = draw.choice(sorted(files, key=lambda file: file.stat().st_mtime_ns)[-3:])
        whole = path.read_bytes()
        if draw.random() < 0.3:
            (path.parent / f".{path.name}.x{SUFFIX}").write_bytes(whole[: draw.randrange(len(whole) + 1)])
            return
        path.write_bytes(whole[: draw.randrange(len(whole) + 1)])
        self._cut = True

    def _finish(self, found: Outcome, config: RunConfig, processes: int, prepare: Any) -> None:
        """Resume until the run is finished. Where an error names a damaged file, it is followed as it says: the file is
        removed, or the run begins again.
        """
        for _ in range(6):
            trial = Attempt(config, processes, prepare)
            codes = trial.end()
            if set(codes) == {0}:
                return
            message = trial.message
            damaged = [path for path in config.folder.rglob("*") if path.is_file() and str(path) in message]
            begin_again = "start again with --overwrite" in message
            if found.fault != "power" or not (begin_again or "remove it" in message) or not damaged:
                found.wrong.append(f"resuming ended with exit codes {codes}: {message}")
                return
            found.refused += 1
            if begin_again:
                shutil.rmtree(config.folder)
                continue
            for path in damaged:
                path.unlink()
        found.wrong.append("never finished")


def ray_runs(place: Path, harness: Harness, seeds: Sequence[int]) -> list[Outcome]:
    """Runs as tasks of a Ray cluster of this machine, whose processes are killed at random times.

    What was lost is counted in whole epochs here, times their steps: those told before that are told again.
    """
    from dynpool.training import ComparisonConfig
    from dynpool.training.executors.events import Ended, EpochEnded, Event, Failed
    from dynpool.training.executors.ray_tasks import RayTasks

    draw, begun = random.Random(f"ray {seeds}"), time.monotonic()
    alone, seconds = harness.alone(1)
    found = {f"ray-{seed}": Outcome("ray", seed, 1, draw.choice([1, 2, 3])) for seed in seeds}
    told: dict[str, list[int]] = {name: [] for name in found}
    executor = RayTasks(ComparisonConfig(executor="ray", retries=9, threads=1), 2, resume=False, overwrite=False)

    def note(event: Event) -> None:
        outcome = found[event.run]
        if isinstance(event, EpochEnded):
            told[event.run].append(event.row["epoch"])
        elif isinstance(event, (Ended, Failed)):
            ended.add(event.run)
            outcome.seconds = round(time.monotonic() - begun, 1)
        if isinstance(event, Failed):
            outcome.wrong.append(event.reason)
        if isinstance(event, EpochEnded) and outcome.faults < 2 and draw.random() < 0.4:
            victim = _holder(place / event.run / ".lock")
            time.sleep(draw.uniform(0, seconds / EPOCHS))
            if victim is not None and _killed(victim):
                outcome.faults += 1

    ended: set[str] = set()
    names, started = list(found), 0
    try:
        while len(ended) < len(found):
            while started < len(names) and started - len(ended) < executor.workers:
                outcome = found[names[started]]
                options = [f"--name={names[started]}", f"--save_steps={outcome.save_steps}"]
                executor.start(config_of(place / names[started], *options))
                started += 1
            executor.wait(note)
    finally:
        executor.close()
    for name, outcome in found.items():
        again = len(told[name]) - len(set(told[name]))
        outcome.lost, outcome.bound = again * STEPS, 0
        outcome.wrong += [f"{again} epochs were told again"] * bool(again)
        outcome.wrong += [] if outcome.wrong else differences(place / name, alone)
    return list(found.values())


def _killed(process: int) -> bool:
    """Kill a process; gives whether it was still there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _holder(lock: Path) -> int | None:
    """The process that has a lock file open; None without one. Linux only."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name != str(os.getpid()) and any(f.resolve() == lock.resolve() for f in process.glob("fd/*")):
                return int(process.name)
        except OSError:
            continue  # it has ended, or is another user's
    return None


def shares(runs: int, faults: Sequence[str]) -> list[tuple[str, int]]:
    """(fault, number) of so many runs, in the shares of `FAULTS`, the kinds in turn."""
    total = sum(FAULTS[name] for name in faults)
    counts = {name: max(1, round(runs * FAULTS[name] / total)) for name in faults}
    plan = [(number / counts[name], name, number) for name in faults for number in range(counts[name])]
    return [(name, number) for _, name, number in sorted(plan)][:runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first run of each kind")
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--append", action="store_true", help="keep the rows that are there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Outcome] = []
    if not options.append:
        RESULTS.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="dynpool-faults-") as name:
        harness = Harness(Path(name))
        plan = shares(options.runs, options.faults)
        for fault, number in plan:
            if fault != "ray":
                found.append(harness.run(fault, options.seed + number))
                keep(found[-1:])
        if seeds := [options.seed + number for fault, number in plan if fault == "ray"]:
            found += ray_runs(Path(name), harness, seeds)
            keep(found[-len(seeds) :])
    print(summary(found))
    sys.exit(any(row.wrong for row in found))


def keep(found: Sequence[Outcome]) -> None:
    """Append rows to the results, and print them."""
    made = {"torch": torch.__version__, "commit": commit()}
    rows = [asdict(row) | {"wrong": "; ".join(row.wrong)} | made for row in found]
    append(RESULTS, list(rows[0]), rows)
    for row in rows:
        print(*row.values(), flush=True)


def summary(found: Sequence[Outcome]) -> str:
    """A line for each kind of fault, and what was wrong."""
    lines = []
    for fault in FAULTS:
        mine = [row for row in found if row.fault == fault]
        if mine:
            lines.append(
                f"{fault}: {len(mine)} runs, {sum(row.faults for row in mine)} faults, at most "
                f"{max(row.lost for row in mine)} steps lost, {sum(row.refused for row in mine)} damaged checkpoints "
                f"refused, {sum(bool(row.wrong) for row in mine)} runs wrong"
            )
    return "\n".join([*lines, *(f"{row.fault} {row.seed}: {row.wrong}" for row in found if row.wrong)])


if __name__ == "__main__":
    main()
