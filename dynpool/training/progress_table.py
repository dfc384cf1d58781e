"""Progress of many runs: one table in a terminal, with a row for each run in progress; otherwise one line per epoch."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .executors.events import Advanced, Ended, EpochEnded, Event, Failed, Noted, Started, Tell
from .progress import Rate, continued_line, epoch_line, final_line

__all__ = ["lines_of", "showing"]

log = logging.getLogger(__name__)


def lines_of(event: Event, epochs: int) -> list[str]:
    """An event of a run of so many epochs as lines of text."""
    match event:
        case Started(run, _, done):
            return [continued_line(run, epochs, done)] if done else []
        case EpochEnded(run, row):
            return [epoch_line(run, epochs, row)]
        case Noted(_, line, False):
            return [line]
        case Ended(_, figures, folder) if figures:
            return [final_line(figures, folder)]
        case Failed(run, reason):
            return [f"{run}  failed: {reason}"]
        case _:
            return []


@contextmanager
def showing(console: Console, epochs: dict[str, int]) -> Iterator[Tell]:
    """A context in which the events of runs are shown; gives the function to call with each.

    Args:
        console: a table in a terminal, else lines; nothing if it is quiet. Warnings are logged in any case.
        epochs: {name of a run: its epochs}, of all runs.
    """
    if console.quiet:
        yield _log_warning
        return
    if not console.is_terminal:
        yield lambda event: _print(event, epochs)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counted]}"), Rate(),
        TimeRemainingColumn(compact=True), TextColumn("left"),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        yield _Table(progress, epochs).tell


def _log_warning(event: Event) -> None:
    if isinstance(event, Noted) and event.warning:
        log.warning("%s: %s", event.run, event.line)


def _print(event: Event, epochs: dict[str, int]) -> None:
    _log_warning(event)
    print(*(f"{line}\n" for line in lines_of(event, epochs[event.run])), sep="", end="", flush=True)


class _Table:
    """A row for all runs, and one for each in progress: its epochs, images per second, and the time left."""

    def __init__(self, progress: Progress, epochs: dict[str, int]) -> None:
        self._progress, self._epochs = progress, epochs
        self._ended = 0
        self._all = progress.add_task("all runs", total=len(epochs), counted=f"0/{len(epochs)} runs")
        self._rows: dict[str, tuple[TaskID, int]] = {}  # with the images of an epoch

    def tell(self, event: Event) -> None:
        """Show an event: lines above the table, and what changes in it."""
        _log_warning(event)
        for line in lines_of(event, self._epochs[event.run]):
            self._progress.console.print(line, markup=False, highlight=False)
        self._show(event)

    def _show(self, event: Event) -> None:
        epochs = self._epochs[event.run]
        if isinstance(event, Started):
            self._remove(event.run)  # it was started again after a failure
            row = self._progress.add_task(
                event.run, total=epochs * event.images, completed=event.done * event.images,
                counted=f"{event.done}/{epochs}", rate=True,
            )  # fmt: skip
            self._rows[event.run] = row, event.images
        elif isinstance(event, (Ended, Failed)):
            self._remove(event.run)
            self._ended += 1
            counted = f"{self._ended}/{len(self._epochs)} runs"
            self._progress.update(self._all, completed=self._ended, counted=counted)
        elif event.run in self._rows:
            row, images = self._rows[event.run]
            if isinstance(event, Advanced):
                self._progress.advance(row, event.images)
            elif isinstance(event, EpochEnded):
                done = event.row["epoch"]
                self._progress.update(row, completed=done * images, counted=f"{done}/{epochs}")

    def _remove(self, run: str) -> None:
        if run in self._rows:
            self._progress.remove_task(self._rows.pop(run)[0])
