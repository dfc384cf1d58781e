"""Runs trained in processes of this machine, one each, which send their events through a pipe.

A process is a new interpreter, not a copy of this one or an import of its main script: `compare` may be called from
any script. All pipes are read in one thread.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO

from ..config import RunConfig
from .events import Ended, Event, Failed, Noted, Tell

__all__ = ["GRACE", "Processes"]

GRACE = 20.0  # seconds for runs to finish their step and save it; clusters often allow 30
LOOK = 1.0  # seconds after which processes are looked at that have told nothing


class _Lines:
    """The lines that a process writes to a pipe, read without waiting for them."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe, self.open, self._begun = pipe, True, b""
        os.set_blocking(pipe.fileno(), False)

    def read(self) -> list[str]:
        """The lines that are complete by now; at the end of the pipe the rest, too."""
        with contextlib.suppress(BlockingIOError):
            while self.open:
                found = os.read(self.pipe.fileno(), 1 << 16)
                self._begun += found
                self.open = bool(found)
        *whole, self._begun = self._begun.split(b"\n")
        return [_text(line) for line in whole]

    def rest(self) -> list[str]:
        """What is left, when no more is expected."""
        lines = [*self.read(), _text(self._begun)]
        self._begun = b""
        self.pipe.close()
        return lines


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip()


@dataclass
class _Child:
    """One run in its own process."""

    run: RunConfig
    process: subprocess.Popen[bytes]
    events: Connection
    printed: _Lines
    errors: _Lines
    said: list[str] = field(default_factory=list)  # on stderr
    last: Event | None = None  # which is the run's last


class Processes:
    """Trains runs in parallel processes.

    Args:
        workers: runs at a time.
        threads: CPU threads of each; None: those of the run, or all cores shared by the workers.
        resume, overwrite: see `dynpool.training.train`.
    """

    def __init__(self, workers: int, *, threads: int | None, resume: bool, overwrite: bool) -> None:
        self.workers, self._resume, self._overwrite = workers, resume, overwrite
        self._threads = threads or max(1, (os.cpu_count() or 1) // workers)
        self._running: list[_Child] = []

    def start(self, run: RunConfig) -> None:
        """Start a process that trains the run."""
        run = replace(run, threads=self._threads)
        events, theirs = Pipe(duplex=False)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "dynpool.training.executors.child", str(theirs.fileno())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[theirs.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": str(self._threads), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C in a terminal reaches only the comparison, which stops its runs once
            )  # fmt: skip
        pipes = (process.stdin, process.stdout, process.stderr)
        job, printed, errors = (pipe for pipe in pipes if pipe is not None)
        self._running.append(_Child(run, process, events, _Lines(printed), _Lines(errors)))
        with contextlib.suppress(BrokenPipeError), job:  # it has ended already, which `wait` finds
            job.write(pickle.dumps((run, self._resume, self._overwrite)))

    def wait(self, tell: Tell) -> None:
        """Wait for something to tell of any process, and tell it."""
        pipes: list[Connection | int] = []
        for child in self._running:
            pipes += [child.events, *(lines.pipe.fileno() for lines in (child.printed, child.errors) if lines.open)]
        wait(pipes, timeout=LOOK)
        for child in list(self._running):
            ended = child.process.poll() is not None  # looked at first, so that nothing is left unread
            ended |= not self._read(child, tell)
            if ended:
                self._running.remove(child)
                self._end(child, tell)

    def _read(self, child: _Child, tell: Tell) -> bool:
        """Tell what there is to read; gives whether there may be more."""
        for line in child.printed.read():
            tell(Noted(child.run.name, line))
        child.said += child.errors.read()
        with contextlib.suppress(EOFError, OSError):  # OSError: it was killed in the middle of an event
            while child.events.poll():
                event = child.events.recv()
                if isinstance(event, (Ended, Failed)):
                    child.last = event
                else:
                    tell(event)
            return True
        return False

    def _end(self, child: _Child, tell: Tell) -> None:
        """Tell how a run has ended."""
        name = child.run.name
        code = child.process.wait()
        for line in filter(None, child.printed.rest()):
            tell(Noted(name, line))
        said = [line for line in [*child.said, *child.errors.rest()] if line]
        child.events.close()
        if child.last is None:
            reason = said.pop() if said and code > 0 else _exit(code)
            child.last = Failed(name, reason)
        if isinstance(child.last, Ended):
            for line in said:
                tell(Noted(name, line, warning=True))
        tell(child.last)

    def close(self) -> None:
        """Stop all processes: with SIGTERM first, after `GRACE` seconds by killing them."""
        processes = [child.process for child in self._running]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE
        try:
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=max(until - time.monotonic(), 0))
        finally:
            for process in processes:
                process.kill()
                process.wait()
            self._running.clear()


def _exit(code: int) -> str:
    """How a process ended that told nothing."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
