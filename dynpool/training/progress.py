"""Progress of a run: bars in a terminal, otherwise one line per epoch, or JSON for another program."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dynpool.analysis.common.axis_names import along_axes, count_of_axes
from dynpool.analysis.common.cost_unit import format_cost
from dynpool.analysis.common.metric import metric_of

__all__ = [
    "BarReporter",
    "JsonReporter",
    "LineReporter",
    "Rate",
    "Reporter",
    "Silent",
    "continued_line",
    "epoch_line",
    "final_line",
    "reporting",
    "tell",
]


class Reporter(Protocol):
    """Receives the progress of a run."""

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Called when a run begins or continues: `done` of `epochs` epochs are finished, each of `images` images."""

    def advance(self, images: int) -> None:
        """Called when `images` more images have been trained on."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Called when an epoch is finished and saved; `row` is its row of metrics.csv."""


def epoch_line(name: str, epochs: int, row: Mapping[str, Any]) -> str:
    """The line printed for an epoch."""
    parts = [f"{name}  epoch {row['epoch']}/{epochs}"]
    if row["train_loss"] is not None:
        parts.append(f"loss {row['train_loss']:.4f}")
    metric = metric_of(row)
    parts.append(f"{metric.name} {row[metric.test]:.4f}")
    parts.append(format_cost(row["gmacs"]))
    fields = along_axes("i_min", count_of_axes("i_min", row) or 2)
    parts.append(f"I_min {' x '.join(f'{row[column]:.1f}' for column in fields)}")
    if row["images_per_second"] is not None:
        parts.append(f"{row['images_per_second']:.0f} images/s")
    return "  ".join(parts)


def continued_line(name: str, epochs: int, done: int) -> str:
    """The line printed when a run is resumed: the epoch after which it continues."""
    return f"{name}  continues after epoch {done}/{epochs}"


def final_line(figures: Mapping[str, Any], folder: str) -> str:
    """The final figures of a run in one line."""
    metric = metric_of(figures)
    return f"{figures['name']}  {metric.name} {figures[metric.test]:.4f}  {format_cost(figures['gmacs'])}  {folder}"


class Silent:
    """A reporter that prints nothing."""

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Do nothing."""

    def advance(self, images: int) -> None:
        """Do nothing."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Do nothing."""


class LineReporter:
    """A reporter that prints one line per epoch."""

    def __init__(self) -> None:
        self._name, self._epochs = "", 0

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Store the run's name and number of epochs."""
        self._name, self._epochs = name, epochs
        if done:
            print(continued_line(name, epochs, done), flush=True)

    def advance(self, images: int) -> None:
        """Do nothing: lines are printed per epoch."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print the line of the epoch."""
        print(epoch_line(self._name, self._epochs, row), flush=True)


def tell(event: str, **values: Any) -> None:
    """Print one line of JSON for another program: the name of an `event` and its values."""
    print(json.dumps({"event": event, **values}), flush=True)


class JsonReporter:
    """Prints the events "start" (name, epochs, done) and "epoch" (row) as lines of JSON."""

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Print the event "start"."""
        tell("start", name=name, epochs=epochs, done=done)

    def advance(self, images: int) -> None:
        """Do nothing: lines are printed per epoch."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print the event "epoch"."""
        tell("epoch", row=dict(row))


class Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} images/s" if task.speed and task.fields.get("rate") else "")


class BarReporter:
    """A reporter with two progress bars, of the run and the current epoch, and a line for each finished epoch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._run: TaskID | None = None
        self._epoch: TaskID | None = None
        self._name, self._epochs, self._images = "", 0, 0

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Show the bars of a run and remove those of the run before."""
        for task in (self._run, self._epoch):
            if task is not None:
                self._progress.remove_task(task)
        self._name, self._epochs, self._images = name, epochs, images
        self._run = self._progress.add_task(name, total=epochs, completed=done)
        self._epoch = self._progress.add_task(f"epoch {done + 1}", total=images, rate=True)

    def advance(self, images: int) -> None:
        """Advance the bar of the epoch."""
        if self._epoch is not None:
            self._progress.advance(self._epoch, images)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print the line of the epoch and reset the bar for the next one."""
        self._progress.console.print(epoch_line(self._name, self._epochs, row), highlight=False)
        if self._run is not None and self._epoch is not None:
            self._progress.update(self._run, completed=row["epoch"])
            last = row["epoch"] >= self._epochs
            self._progress.reset(
                self._epoch, total=self._images, description=f"epoch {row['epoch'] + (not last)}", visible=not last
            )


def bars(console: Console) -> Progress:
    """Progress bars with counts, rates and the remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
    )


@contextmanager
def reporting(console: Console | None = None, *, json_lines: bool = False, quiet: bool = False) -> Iterator[Reporter]:
    """The reporter for a console: bars if it is a terminal, else lines; if asked for, lines of JSON or none."""
    console = console or Console()
    if json_lines:
        yield JsonReporter()
        return
    if quiet:
        yield Silent()
        return
    if not console.is_terminal:
        yield LineReporter()
        return
    with bars(console) as progress:
        yield BarReporter(progress)
