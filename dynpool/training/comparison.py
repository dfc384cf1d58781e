"""Comparisons: one configuration trained with every method and seed, and a report."""

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from dynpool.analysis.common.checksums import text_is_intact
from dynpool.analysis.comparison import Comparison, compare_runs, write_report
from dynpool.common.cores import usable_cores
from dynpool.common.names import nearest

from .config import ComparisonConfig, GridPoint, RunConfig
from .config_file import options_for, read_yaml, run_config
from .config_identity import changed_keys, to_dict
from .errors import ConfigError, RunFolderError, StoppedError, TrainingError, writing
from .files import locked, make_folder, read_bytes, write_yaml
from .loop import train
from .matching import Queue, with_budget
from .methods import METHODS
from .models import find_factory
from .places import check_folder
from .progress import bars, continued_line, epoch_line, final_line, reporting
from .run_folder import RunFolder
from .stop import stopping

__all__ = ["check_methods", "compare", "default_workers"]

log = logging.getLogger(__name__)

GRACE = 20.0  # seconds for runs to finish their step and save it; clusters often allow 30
# Keys of a comparison that its runs do not have or that differ between them.
OWN_KEYS = ("methods", "seeds", "grid", "workers", "pairs", "equivalence_margin", "method", "seed")


def default_workers(config: ComparisonConfig) -> int:
    """The number of parallel runs: one per CPU core (faster than threads within a run), or one if there is a GPU."""
    if config.workers is not None:
        return config.workers
    if config.device != "cpu" and torch.cuda.is_available():
        return 1
    return max(1, min(usable_cores() // (config.threads or 1), len(config.points()) * len(config.seeds)))


def compare(
    config: ComparisonConfig, *, resume: bool = False, overwrite: bool = False, quiet: bool = False
) -> tuple[Comparison, Path]:
    """Train every method with every seed, write the report, and return the comparison and the path of report.html.

    Each run has a folder <method>-seed<seed> inside that of the comparison, with the grid's values in its name if the
    method has several grid points. Runs that match the cost of another wait for it. With `resume`, finished runs are
    kept and others continue; methods, seeds and grid points may have been added. Progress is printed unless `quiet`.

    Raises:
        ConfigError: for an unknown method or model, a setting that a run rejects, or a cost that cannot be matched.
        RunFolderError: if the folder holds a comparison and neither `resume` nor `overwrite` is set, or it has another
            configuration.
        TrainingError: if runs failed; the message names them. The others are finished first, except those that match
            the cost of a failed one.
        StoppedError: after SIGTERM or SIGHUP; all runs are saved, at the end of a step if that does not take long.
        KeyboardInterrupt: after Ctrl-C, likewise; at once after a second one.
    """
    console = Console(quiet=quiet)
    check_methods(config)
    folder = config.folder
    check_folder(folder)
    points = [(point, seed) for seed in config.seeds for point in config.points()]
    runs = [(run_config(config, point, seed), point) for point, seed in points]
    waiting = Queue(runs)
    make_folder(folder)
    with locked(folder):
        _open(config, [run.name for run, _ in runs], resume=resume, overwrite=overwrite)
        workers = min(default_workers(config), len(runs))
        if workers == 1:
            failed = _in_turn(waiting, console, quiet=quiet, resume=resume, overwrite=overwrite)
        else:
            flags = ["--resume"] * resume + ["--overwrite"] * overwrite
            with stopping():
                failed = _Pool(config, waiting, workers, flags, console).work()
        if failed:
            raise _failure(failed)
        folders = [run.folder for run, _ in runs]
        comparison = compare_runs(folders)
        with writing(folder):
            report = write_report(comparison, folder)
    return comparison, report


def check_methods(config: ComparisonConfig) -> None:
    """Check that the methods and the model of a comparison are known.

    Raises:
        ConfigError: if one is not.
    """
    for method in config.methods:
        if method not in METHODS:
            raise ConfigError(f"methods has {method!r}, which is not a known method{nearest(method, METHODS)}")
    find_factory(config.model)


def _in_turn(waiting: Queue, console: Console, *, quiet: bool, resume: bool, overwrite: bool) -> dict[str, str]:
    """Train all runs in this process, one after the other; gives the reasons of those that failed by their names."""
    failed: dict[str, str] = {}
    with reporting(console, quiet=quiet) as reporter, stopping() as stop:
        while found := waiting.take():
            (run, _), matched = found
            try:
                run = with_budget(run, matched, resume=resume)
                train(run, resume=resume, overwrite=overwrite, reporter=reporter, stop=stop)
            except StoppedError:
                raise
            except TrainingError as error:
                failed |= {run.name: str(error)} | waiting.failed(run.name)
            waiting.ended(run.name)
            if stop.asked():
                raise stop.error("")
    return failed


def _failure(failed: Mapping[str, str]) -> TrainingError:
    """The error that names the runs that failed, with each reason once."""
    reasons: dict[str, list[str]] = {}
    for name, reason in failed.items():
        reasons.setdefault(reason, []).append(name)
    listed = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return TrainingError(f"{len(failed)} of the runs failed ({listed})")


def _open(config: ComparisonConfig, names: Collection[str], *, resume: bool, overwrite: bool) -> None:
    path = config.folder / "comparison.yaml"
    if RunFolder(config.folder).started:
        raise RunFolderError(f"{config.folder} holds a single run, not a comparison; choose another folder with --out")
    text = (read_bytes(path) or b"").decode(errors="replace")
    if text and text_is_intact(text) is None and not any(config.folder.glob("*/metrics.csv")):
        raise RunFolderError(f"{path} was not written by a comparison: choose another folder with --out")
    if path.exists() and not overwrite:
        if not resume:
            raise RunFolderError(
                f"{config.folder} already holds a comparison: continue it with --resume, discard it with --overwrite, "
                "or choose another folder with --out"
            )
        old, new = read_yaml(path), to_dict(config)
        if not isinstance(old, dict):
            raise RunFolderError(f"{path}: damaged; start again with --overwrite")
        changed = changed_keys(*({k: v for k, v in d.items() if k not in OWN_KEYS} for d in (old, new)))
        if changed:
            raise RunFolderError(
                f"{config.folder} holds a comparison of another configuration ({'; '.join(changed)}): resume it with "
                "its own, discard it with --overwrite, or choose another folder with --out"
            )
        if text_is_intact(text) is False:
            log.warning("%s was damaged or edited; it is rewritten", path)
        left_out = sorted({run.parent.name for run in config.folder.glob("*/metrics.csv")} - set(names))
        if left_out:
            log.warning(
                "%s has runs that this comparison leaves out: %s (dynpool report %s reports all)",
                config.folder, ", ".join(left_out), config.folder,
            )  # fmt: skip
    pairs = None if config.tested_pairs is None else [list(pair) for pair in config.tested_pairs]
    write_yaml(path, to_dict(config) | {"pairs": pairs})


@dataclass
class _Worker:
    """One run in its own process."""

    run: RunConfig
    process: subprocess.Popen[str]
    said: list[str]  # on stderr
    error: str = ""  # that it reported


Event = Mapping[str, Any]
Line = tuple[_Worker, Event | None]  # None: the process has closed its output


class _Pool:
    """Trains runs in parallel processes."""

    def __init__(
        self,
        config: ComparisonConfig,
        waiting: Queue,
        workers: int,
        flags: Sequence[str],
        console: Console,
    ) -> None:
        self.config, self.workers, self.flags, self.console = config, workers, flags, console
        self.waiting = waiting
        self.running: list[_Worker] = []
        self.failed: dict[str, str] = {}
        self.lines: queue.Queue[Line] = queue.Queue()

    def work(self) -> dict[str, str]:
        """Train all runs; gives the reasons of those that failed by their names."""
        try:
            with self._telling() as tell:
                while self.waiting or self.running:
                    self._start_runs()
                    worker, event = self.lines.get()
                    if event is None:
                        self._end(worker)
                    elif event["event"] == "error":
                        worker.error = event["message"]
                    else:
                        tell(worker.run, event)
        finally:
            self._stop()
        return self.failed

    def _start_runs(self) -> None:
        """Start runs that wait for no other until all workers are busy."""
        while len(self.running) < self.workers and (found := self.waiting.take()):
            (run, point), matched = found
            self.running.append(self._start(with_budget(run, matched, resume="--resume" in self.flags), point))

    def _start(self, run: RunConfig, point: GridPoint) -> _Worker:
        threads = self.config.threads or max(1, (os.cpu_count() or 1) // self.workers)
        command = [
            sys.executable, "-m", "dynpool.cli", "train", str(self.config.folder / "comparison.yaml"),
            *options_for(run, point), "--threads", str(threads), "--json-lines", *self.flags,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C in a terminal reaches only the comparison, which stops its runs once
        )  # fmt: skip
        worker = _Worker(run, process, [])
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        threading.Thread(target=self._read_errors, args=(worker,), daemon=True).start()
        return worker

    def _read(self, worker: _Worker) -> None:
        for line in worker.process.stdout or ():
            self.lines.put((worker, _event(line.rstrip())))
        worker.process.wait()
        self.lines.put((worker, None))

    def _read_errors(self, worker: _Worker) -> None:
        worker.said.extend(line.rstrip() for line in worker.process.stderr or ())

    def _end(self, worker: _Worker) -> None:
        self.running.remove(worker)
        code = worker.process.wait()
        said = [line for line in worker.said if line] or [f"exit code {code}"] * bool(code)
        if code:
            self.failed[worker.run.name] = worker.error or said[-1].removeprefix("dynpool: error: ")
            self.failed |= self.waiting.failed(worker.run.name)
            return
        self.waiting.ended(worker.run.name)
        for line in said:
            log.warning("%s: %s", worker.run.name, line.removeprefix("dynpool: "))

    def _stop(self) -> None:
        """Stop all running processes: with SIGTERM first, then by killing them."""
        for worker in self.running:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE
        try:
            for worker in self.running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(timeout=max(until - time.monotonic(), 0))
        finally:
            for worker in self.running:
                worker.process.kill()
                worker.process.wait()

    @contextmanager
    def _telling(self) -> Iterator[Callable[[RunConfig, Event], None]]:
        """What to do with an event of a run: bars and lines in a terminal, else lines."""
        if self.console.quiet:
            yield lambda run, event: None
            return
        if not self.console.is_terminal:
            yield lambda run, event: print(*(f"{line}\n" for line in _words(run, event)), sep="", end="", flush=True)
            return
        with bars(self.console) as progress:
            names = {run.name: run.epochs for run in self.waiting.runs}
            tasks = {name: progress.add_task(name, total=epochs, start=False) for name, epochs in names.items()}

            def tell(run: RunConfig, event: Event) -> None:
                if event["event"] == "epoch":
                    progress.start_task(tasks[run.name])
                    progress.update(tasks[run.name], completed=event["row"]["epoch"])
                for line in _words(run, event):
                    progress.console.print(line, markup=False, highlight=False)

            yield tell


def _event(line: str) -> Event:
    """What a run reports in a line; of other code's lines, that they were printed."""
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            return event
    return {"event": "printed", "line": line}


def _words(run: RunConfig, event: Event) -> list[str]:
    """An event as lines of text."""
    match event["event"]:
        case "start":
            return [continued_line(run.name, run.epochs, event["done"])] if event["done"] else []
        case "epoch":
            return [epoch_line(run.name, run.epochs, event["row"])]
        case "end":
            return [final_line(event["figures"], event["folder"])]
        case _:
            return [event["line"]]
