"""Attempts to train a short run, in processes whose writes or clock may fail; for benchmarks/faults.py."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dynpool.training import RunConfig, StoppedError, TrainingError, load_config
from dynpool.training.loop import train

STEPS = 4  # of an epoch
EPOCHS = 4
PATIENCE = 120.0  # seconds for an attempt
OPTIONS = (
    "--name=run", "--model.options.widths=[4,6,8]", "--data.variant=tile", "--data.resolution=16", "--batch_size=32",
    "--data.test_fraction=0.05", "--data.train_images=128", "--data.shift=1", f"--epochs={EPOCHS}", "--lr=0.05",
    "--alpha_lr=1", "--alpha_momentum=0.9", "--gmacs_weight=10", "--threads=1", "--device=cpu",
)  # fmt: skip

# Children are forked from a process that has imported what they need and done nothing else: autograd does not run in a
# fork of a process in which it has had threads.
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["benchmarks.fault_attempts", "sklearn.datasets"])


def start_server() -> None:
    """Start the process that children are forked from, and wait until it has imported what they need."""
    first = server.Process(target=int)
    first.start()
    first.join()


def config_of(folder: Path, *options: str) -> RunConfig:
    """The configuration of a run."""
    return load_config(RunConfig, None, [*OPTIONS, "--out", str(folder), *options])[0]


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
        self.steps = server.Value("q", 0, lock=False)
        self._heard, said = server.Pipe(duplex=False)
        port = _free_port() if processes > 1 else 0
        self.processes: list[BaseProcess] = []
        for rank in range(processes):
            steps = self.steps if rank == 0 else server.Value("q", 0, lock=False)
            process = server.Process(target=attempt, args=(config, steps, said, prepare, rank, port))
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


@dataclass(frozen=True)
class Failing:
    """Prepares a process in which writing fails, see `failing_writes`."""

    name: str
    after: int

    def __call__(self) -> None:
        failing_writes(self.name, self.after)


@dataclass(frozen=True)
class Clock:
    """Prepares a process whose clock is off by so many seconds."""

    seconds: float

    def __call__(self) -> None:
        shifted_clock(self.seconds)
