"""The inspection of runs in several processes, each of which leaves its results in the folders of its runs."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from dynpool.common.cores import usable_cores

from .inspection import InspectionOptions, inspect_subject
from .inspection_parts import HessianOptions, PruningOptions, hessians_of, prune_subject
from .subjects import Subject, subject_of_run

__all__ = ["Wanted", "default_workers", "measure", "measure_runs"]

Progress = Callable[[str, int, int | None], object]


@dataclass(frozen=True)
class Wanted:
    """What to measure of each network; None: not."""

    inspection: InspectionOptions
    pruning: PruningOptions | None = None
    hessian: HessianOptions | None = None


def default_workers(runs: int) -> int:
    """One process a core, which is faster than threads within one; one if there is a GPU."""
    if torch.cuda.is_available():
        return 1
    return max(1, min(usable_cores(), runs))


def measure(subject: Subject, wanted: Wanted, out: Path, progress: Progress | None = None) -> bool:
    """Measure a network, part by part, each kept in its folder below `out`; returns whether all was there already."""
    kept = [inspect_subject(subject, wanted.inspection, out, progress=progress)[1]]
    if wanted.pruning is not None:
        kept.append(prune_subject(subject, wanted.pruning, out / "pruning", progress=progress)[1])
    if wanted.hessian is not None:
        kept.append(hessians_of(subject, wanted.hessian, out / "hessian", progress=progress)[1])
    return all(kept)


def measure_runs(
    folders: Sequence[tuple[Path, Path]], wanted: Wanted, workers: int, done: Callable[[Path, bool], object]
) -> None:
    """Measure runs in processes of one thread each.

    Args:
        folders: (run, folder of its results).
        wanted: what to measure.
        workers: number of processes.
        done: called with a run, and whether all was there already, when it is measured.

    Raises:
        TrainingError: of the first run that failed; those under way end first, and their results are kept.
        KeyboardInterrupt: after Ctrl-C; processes are ended at once, and what was finished is kept.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        tasks = {pool.submit(_measure, run, wanted, out): run for run, out in folders}
        for task in as_completed(tasks):
            done(tasks[task], task.result())
    except KeyboardInterrupt:
        for process in list(pool._processes.values()):  # there is no public way to end them
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the command ends this process
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_command, daemon=True).start()


def _end_with_command() -> None:
    """End this process when the command has ended, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure(run: Path, wanted: Wanted, out: Path) -> bool:
    return measure(subject_of_run(run), wanted, out)
