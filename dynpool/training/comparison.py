"""Comparisons: one configuration trained with every method and seed, and a report."""

import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console

from dynpool.analysis.common.checksums import text_is_intact
from dynpool.analysis.comparison import Comparison, compare_runs, write_report
from dynpool.common.cores import usable_cores
from dynpool.common.names import nearest

from .config import COMPARISON_KEYS, ComparisonConfig
from .config_file import read_yaml, run_configs
from .config_identity import changed_keys, to_dict
from .driver import train_all
from .errors import ConfigError, RunFolderError, TrainingError, writing
from .executors.events import Executor
from .executors.in_process import InProcess
from .executors.processes import Processes
from .files import locked, make_folder, read_bytes, write_yaml
from .matching import Queue
from .methods import METHODS
from .models import find_factory
from .optimizer import check_optimizer
from .places import check_folder
from .progress_table import showing
from .run_folder import RunFolder
from .stop import Stop, stopping

__all__ = ["check_methods", "compare", "default_workers"]

log = logging.getLogger(__name__)

# Keys of a comparison that its runs do not have or that differ between them.
OWN_KEYS = (*COMPARISON_KEYS, "method", "seed")


def default_workers(config: ComparisonConfig) -> int:
    """The number of parallel runs: one per CPU core (faster than threads within a run), or one if there is a GPU."""
    if config.workers is not None:
        return config.workers
    if config.executor == "ray":
        return len(config.points()) * len(config.seeds)  # Ray knows for how many there is room
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
    runs = run_configs(config)
    for run, _ in runs[: len(config.points())]:
        check_optimizer(run)
    waiting = Queue(runs)
    make_folder(folder)
    with locked(folder):
        names = [run.name for run, _ in runs]
        _check(config, names, resume=resume, overwrite=overwrite)
        epochs = {run.name: run.epochs for run, _ in runs}
        with showing(console, epochs) as tell, stopping() as stop:
            executor = _executor(config, names, stop, resume=resume, overwrite=overwrite)
            _write(config, executor)
            failed = train_all(waiting, executor, tell, resume=resume)
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
    find_factory(config.model, task=config.task)


def _executor(config: ComparisonConfig, names: Sequence[str], stop: Stop, *, resume: bool, overwrite: bool) -> Executor:
    """Where the runs of a comparison are trained."""
    workers = min(default_workers(config), len(names))
    if config.executor == "ray":
        from .executors.ray_tasks import RayTasks

        return RayTasks(config, workers, names, resume=resume, overwrite=overwrite)
    if workers == 1 or sys.platform == "win32":  # which passes no pipes on to a process
        return InProcess(stop, resume=resume, overwrite=overwrite)
    return Processes(workers, threads=config.threads, resume=resume, overwrite=overwrite)


def _failure(failed: Mapping[str, str]) -> TrainingError:
    """The error that names the runs that failed, with each reason once."""
    reasons: dict[str, list[str]] = {}
    for name, reason in failed.items():
        reasons.setdefault(reason, []).append(name)
    listed = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return TrainingError(f"{len(failed)} of the runs failed ({listed})")


def _check(config: ComparisonConfig, names: Collection[str], *, resume: bool, overwrite: bool) -> None:
    """Check what the folder of a comparison holds.

    Raises:
        RunFolderError: see `compare`.
    """
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


def _write(config: ComparisonConfig, executor: Executor) -> None:
    """Write comparison.yaml, once nothing more can be refused; the executor is closed if that fails."""
    pairs = None if config.tested_pairs is None else [list(pair) for pair in config.tested_pairs]
    try:
        write_yaml(config.folder / "comparison.yaml", to_dict(config) | {"pairs": pairs})
    except BaseException:
        executor.close()
        raise
