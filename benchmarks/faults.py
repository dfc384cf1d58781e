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
import csv
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkout import commit
from dynpool.analysis.common.atomic_files import SUFFIX
from dynpool.training import RunConfig, StoppedError, TrainingError, load_config, load_data
from dynpool.training.checkpoint import Checkpoint, last_path, load, stopped_path
from dynpool.training.loop import train
from dynpool.training.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results" / "faults.csv"
FAULTS = {"kill": 7, "term": 5, "power": 7, "full": 6, "read-only": 4, "clock": 4, "two": 5, "ray": 2}  # shares of runs
VARIES = ("seconds", "images_per_second", "peak_memory", "checksum")
STEPS = 4  # of an epoch
EPOCHS = 4
PATIENCE = 120.0  # seconds for an attempt
OPTIONS = (
    "--name=run", "--model.options.widths=[4,6,8]", "--data.variant=tile", "--data.resolution=16", "--batch_size=32",
    "--data.test_fraction=0.05", "--data.train_images=128", "--data.shift=1", f"--epochs={EPOCHS}", "--lr=0.05",
    "--alpha_lr=1", "--alpha_momentum=0.9", "--gmacs_weight=10", "--threads=1", "--device=cpu",
)  # fmt: skip

fork = multiprocessing.get_context("fork")  # children need not import PyTorch again


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


class Progress:
    """A reporter that counts the steps of the optimiser in memory that outlives the process."""

    def __init__(self, steps: Any) -> None:
        self._steps = steps

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Begin with the finished epochs."""
        self._steps.value = done * STEPS

    def advance(self, images: int) -> None:
        """Count a step, or those of a checkpoint in the middle of an epoch."""
        self._steps.value += images // 32

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Do nothing: its steps are counted."""


# ---- one attempt ---------------------------------------------------------------------------------------------------


def attempt(config: RunConfig, steps: Any, said: Any, prepare: Callable[[], object], rank: int, port: int) -> None:
    """Train a run in this process, and end it with an exit code: 0, 2 for an error of the user's, 75 after SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if port:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
    prepare()
    code = 0
    try:
        train(config, resume=True, reporter=Progress(steps))
    except StoppedError:
        code = 75
    except TrainingError as error:
        code = 2
        said.send(str(error))
    sys.stderr.flush()
    os._exit(code)


class Attempt:
    """One or two processes that train a run."""

    def __init__(self, config: RunConfig, processes: int = 1, prepare: Callable[[], object] = int) -> None:
        self.steps = fork.Value("q", 0, lock=False)
        self._heard, said = fork.Pipe(duplex=False)
        port = _free_port() if processes > 1 else 0
        self.processes: list[ForkProcess] = []
        for rank in range(processes):
            steps = self.steps if rank == 0 else fork.Value("q", 0, lock=False)
            process = fork.Process(target=attempt, args=(config, steps, said, prepare, rank, port))
            process.start()
            self.processes.append(process)
        said.close()

    def wait(self, seconds: float = PATIENCE) -> bool:
        """Wait until all processes have ended; gives whether they have."""
        until = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(until - time.monotonic(), 0))
        return not any(process.is_alive() for process in self.processes)

    def end(self) -> list[int | None]:
        """Wait, if need be kill, and give the exit codes."""
        if not self.wait():
            for process in self.processes:
                process.kill()
                process.join()
        return [process.exitcode for process in self.processes]

    @property
    def message(self) -> str:
        """The error that a process has told."""
        try:
            return self._heard.recv() if self._heard.poll() else ""
        except EOFError:
            return ""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def failing_writes(name: str, after: int) -> None:
    """Let writing fail in this process from a call on: nothing reaches the disk, or nothing can be opened to write."""
    number, (module, function) = {
        "full": (errno.ENOSPC, (os, "fsync")), "read-only": (errno.EROFS, (tempfile, "mkstemp")),
    }[name]  # fmt: skip
    real, calls = getattr(module, function), Counter[str]()

    def failing(*arguments: Any, **options: Any) -> Any:
        calls["all"] += 1
        if calls["all"] > after:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    setattr(module, function, failing)


def shifted_clock(seconds: float) -> None:
    """Let the clock of this process be off."""
    real = time.time
    time.time = lambda: real() + seconds


# ---- what must hold ------------------------------------------------------------------------------------------------


def saved_steps(folder: Path) -> int:
    """The optimiser steps in the checkpoint that a run would continue from; -1 without one."""
    available = RunFolder(folder).checkpoints()
    if not available:
        return -1
    found = load(available[-1])
    return found.epoch * STEPS + (found.partial.step if found.partial is not None else 0)


def broken_files(folder: Path) -> Iterator[str]:
    """The files that are not whole."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            if path.suffix == ".pt":
                load(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.name == "metrics.csv":
                with path.open(newline="") as file:
                    if not all(None not in row.values() for row in csv.DictReader(file)):
                        yield f"{path.name}: a row is cut off"
        except (TrainingError, ValueError) as error:
            yield f"{path.name}: {error}"


def differences(folder: Path, alone: Path) -> Iterator[str]:
    """How a finished run differs from that which was left alone."""
    for name in ("metrics.csv", "i_min.jsonl"):
        if _content(folder / name) != _content(alone / name):
            yield f"{name} differs"
    mine, other = (load(last_path(run)) for run in (folder, alone))
    for name, value in _tensors(other).items():
        if not torch.equal(value, _tensors(mine)[name]):
            yield f"{name} differs"
    done = RunFolder(folder)
    figures = done.finished()
    if figures is None or not done.check_finished(figures):
        yield "done.json does not match the files"
    left = [path.name for path in folder.rglob(f".*{SUFFIX}")]
    if left or stopped_path(folder).exists():
        yield f"files are left over: {left}"


def _content(path: Path) -> object:
    if path.suffix != ".csv":
        return path.read_bytes()
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in VARIES} for row in csv.DictReader(file)]


def _tensors(saved: Checkpoint) -> dict[str, torch.Tensor]:
    momenta = {f"momentum of {k}": state["momentum_buffer"] for k, state in saved.optimizer["state"].items()}
    return {**saved.model, **momenta}


# ---- runs ----------------------------------------------------------------------------------------------------------


def config_of(folder: Path, *options: str) -> RunConfig:
    """The configuration of a run."""
    return load_config(RunConfig, None, [*OPTIONS, "--out", str(folder), *options])[0]


class Harness:
    """Runs that suffer faults, and those that are left alone.

    Args:
        place: an empty folder for all of them.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._alone: dict[int, tuple[Path, float]] = {}
        self._cut = False  # a file of the present run
        load_data(config_of(place).data)  # once, for all children

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
                prepare = _Clock(draw.uniform(-3e8, 3e8))
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
            prepare = _Failing(fault, draw.randrange(1, 40))
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
        """Resume until the run is finished; a damaged file that an error names is removed, as the error says."""
        for _ in range(6):
            trial = Attempt(config, processes, prepare)
            codes = trial.end()
            if set(codes) == {0}:
                return
            message = trial.message
            damaged = [path for path in config.folder.rglob("*") if path.is_file() and str(path) in message]
            if found.fault != "power" or "remove it" not in message or not damaged:
                found.wrong.append(f"resuming ended with exit codes {codes}: {message}")
                return
            found.refused += 1
            for path in damaged:
                path.unlink()
        found.wrong.append("never finished")


@dataclass(frozen=True)
class _Failing:
    name: str
    after: int

    def __call__(self) -> None:
        failing_writes(self.name, self.after)


@dataclass(frozen=True)
class _Clock:
    seconds: float

    def __call__(self) -> None:
        shifted_clock(self.seconds)


# ---- Ray -----------------------------------------------------------------------------------------------------------


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


# ---- the command ---------------------------------------------------------------------------------------------------


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
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
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
