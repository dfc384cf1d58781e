"""Runs trained in this process, one after the other."""

from ..config import RunConfig
from ..errors import StoppedError, TrainingError
from ..loop import train
from ..stop import Stop
from .events import Ended, EventReporter, Failed, Tell

__all__ = ["InProcess"]


class InProcess:
    """Trains one run at a time, in this process.

    Args:
        stop: the record of signals that stop a run.
        resume, overwrite: see `dynpool.training.train`.

    Raises:
        StoppedError, KeyboardInterrupt: by `wait`, after a signal.
    """

    workers = 1

    def __init__(self, stop: Stop, *, resume: bool, overwrite: bool) -> None:
        self._stop, self._resume, self._overwrite = stop, resume, overwrite
        self._started: list[RunConfig] = []

    def start(self, run: RunConfig) -> None:
        """Keep the run for `wait`, which trains it."""
        self._started.append(run)

    def wait(self, tell: Tell) -> None:
        """Train a run that was started, from its beginning to its end."""
        run = self._started.pop(0)
        reporter = EventReporter(run.name, tell)
        try:
            figures = train(
                run, resume=self._resume, overwrite=self._overwrite, reporter=reporter, stop=self._stop
            )  # fmt: skip
        except StoppedError:
            raise
        except TrainingError as error:
            tell(Failed(run.name, str(error)))
        else:
            tell(Ended(run.name, figures, str(run.folder)))
        if self._stop.asked():
            raise self._stop.error("")

    def close(self) -> None:
        """Do nothing: a run ends before `wait` returns."""
