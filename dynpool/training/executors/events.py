"""What an executor is, and the events by which it tells of its runs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..config import RunConfig

__all__ = [
    "Advanced",
    "Ended",
    "EpochEnded",
    "Event",
    "EventReporter",
    "Executor",
    "Failed",
    "Noted",
    "Started",
    "Tell",
]

EVERY = 0.5  # seconds between two events `Advanced` of a run, at least


@dataclass(frozen=True)
class Started:
    """A run begins or continues: `done` of `epochs` epochs are finished, each of `images` images."""

    run: str
    epochs: int
    done: int
    images: int


@dataclass(frozen=True)
class Advanced:
    """A run has trained on `images` more images."""

    run: str
    images: int


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is finished and saved; `row` is its row of metrics.csv."""

    run: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Noted:
    """A line that a run, or code that it calls, has printed, or a `warning` of it."""

    run: str
    line: str
    warning: bool = False


@dataclass(frozen=True)
class Ended:
    """A run is finished: its final figures, and its folder. The last event of a run, as is `Failed`."""

    run: str
    figures: Mapping[str, Any]
    folder: str


@dataclass(frozen=True)
class Failed:
    """A run has failed, for a reason that is one line."""

    run: str
    reason: str


Event = Started | Advanced | EpochEnded | Noted | Ended | Failed
Tell = Callable[[Event], object]


class Executor(Protocol):
    """Trains runs, several at a time.

    Attributes:
        workers: the number of runs that may be started before one of them has ended.
    """

    workers: int

    def start(self, run: RunConfig) -> None:
        """Start a run."""

    def wait(self, tell: Tell) -> None:
        """Wait until there is something to tell of a run that was started, and tell it; the last is its end."""

    def close(self) -> None:
        """Stop the runs in progress: they save their steps if that does not take long. Free what was taken."""


class EventReporter:
    """A reporter that tells of a run by events.

    Args:
        run: its name.
        tell: receives them.
    """

    def __init__(self, run: str, tell: Tell) -> None:
        self._run, self._tell = run, tell
        self._images, self._told = 0, time.monotonic()

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Tell `Started`."""
        self._tell(Started(self._run, epochs, done, images))

    def advance(self, images: int) -> None:
        """Tell `Advanced`, of several steps in one if they are short."""
        self._images += images
        if time.monotonic() - self._told >= EVERY:
            self._tell(Advanced(self._run, self._images))
            self._images, self._told = 0, time.monotonic()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Tell `EpochEnded`."""
        self._images = 0  # the row says it all
        self._tell(EpochEnded(self._run, dict(row)))
