"""Runs parts one after the other, each in a process of its own with a limit; none ends the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from benchmarks.gpu.context import Context
from benchmarks.gpu.parts import Part
from benchmarks.gpu.rows import path_of

__all__ = ["LOG", "Outcome", "cache_folder", "run"]

ROOT = Path(__file__).parents[2]
LOG = "gpu.log"  # in the folder of the rows: what all parts print
_GRACE = 0.1  # of a part's limit, kept for what it does after its own deadline, ...
_LEAST_GRACE = 2.0  # ... and seconds of it at least
_STARTS = 1.0  # seconds below which a part is not begun


@dataclass(frozen=True)
class Outcome:
    """How a part ended.

    Attributes:
        part: its name.
        ended: "done", "crashed", "killed" at its limit, or "not begun", for want of time.
        seconds: that it took.
        limit: seconds that it was given.
        compiled: kernels of the library that were compiled on the way.
        said: the last lines that it printed.
    """

    part: str
    ended: str
    seconds: float = 0.0
    limit: float = 0.0
    compiled: int = 0
    said: tuple[str, ...] = ()


def run(parts: Sequence[Part], context: Context) -> Iterator[Outcome]:
    """Run the parts until ``context.until``; gives how each ended. What they print goes to ``LOG`` in the folder."""
    context.out.mkdir(parents=True, exist_ok=True)
    for part in parts:  # rows of an earlier run are not those of this one
        path_of(context.out, part.name).unlink(missing_ok=True)
    with (context.out / LOG).open("w") as log:
        for number, part in enumerate(parts):
            limit = context.left() * part.share / sum(later.share for later in parts[number:])
            outcome = _run_one(part, context, limit, log) if limit >= _STARTS else Outcome(part.name, "not begun")
            print(f"{part.name}: {outcome.ended} after {outcome.seconds:.1f} s of {limit:.0f}", flush=True)
            yield outcome


def _run_one(part: Part, context: Context, limit: float, log: TextIO) -> Outcome:
    started, compiled = time.time(), _compiled()
    grace = min(max(_GRACE * limit, _LEAST_GRACE), limit / 2)
    own = replace(context, until=started + limit - grace)
    log.write(f"\n=== {part.name}\n")
    log.flush()
    begin = log.tell()
    command = [sys.executable, "-m", "benchmarks.gpu.child", part.module, *own.flags()]
    process = subprocess.Popen(
        command, cwd=ROOT, env=_environment(part, context.device), stdout=log, stderr=log,
        start_new_session=True,  # so that what it started ends with it
    )  # fmt: skip
    try:
        code = process.wait(timeout=limit)
        ended = "done" if code == 0 else "crashed"
    except subprocess.TimeoutExpired:
        ended = "killed"
    finally:
        _end(process)
    seconds = time.time() - started
    return Outcome(part.name, ended, seconds, limit, _compiled() - compiled, _said(Path(log.name), begin))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and whatever it started, such as compilers that work for it."""
    with contextlib.suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(part: Part, device: str) -> dict[str, str]:
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "TRITON_CACHE_DIR": str(cache_folder()),  # said, since Inductor would else change it on the way
        "TRITON_INTERPRET": str(int(part.interpreted and device == "cpu")),
    }
    return os.environ | changes


def cache_folder() -> Path:
    """Where Triton keeps what it compiled, in all parts."""
    given = os.environ.get("TRITON_CACHE_DIR")
    return Path(given) if given else Path(os.environ.get("TRITON_HOME", Path.home())) / ".triton" / "cache"


def _compiled() -> int:
    """The kernels of the library in Triton's cache; their names end so, unlike Inductor's."""
    return sum(1 for _ in cache_folder().glob("*/*_kernel.cubin"))


def _said(log: Path, begin: int) -> tuple[str, ...]:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    return tuple(line for line in lines if line.strip())[-3:]
