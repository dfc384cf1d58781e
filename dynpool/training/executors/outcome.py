"""One run trained for an executor: how it ended, and the warnings of it and of the code that it calls."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from dynpool.common.extras import EXTRAS, optional

from ..config import RunConfig
from ..errors import TrainingError
from .events import Ended, Event, EventReporter, Failed, Noted, Tell

__all__ = ["outcome_of", "telling_warnings"]


def outcome_of(run: RunConfig, tell: Tell, *, resume: bool, overwrite: bool, patience: float = 0.0) -> Event:
    """Train a run, telling of its progress; gives how it ended. An error that no user can correct is raised.

    Args:
        run: the run.
        tell: receives its events but the last.
        resume, overwrite, patience: see `dynpool.training.train`.
    """
    try:
        with optional():
            from ..loop import train

            reporter = EventReporter(run.name, tell)
            figures = train(run, resume=resume, overwrite=overwrite, reporter=reporter, patience=patience)
    except KeyboardInterrupt as error:
        return Failed(run.name, f"interrupted; {error}")
    except BrokenPipeError:
        raise
    except (TrainingError, OSError) as error:
        return Failed(run.name, str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        return Failed(run.name, str(error))
    return Ended(run.name, dict(figures), str(run.folder))


@contextmanager
def telling_warnings(run: str, tell: Tell) -> Iterator[None]:
    """A context in which warnings, logged ones too, are told as events of the run."""

    def say(message: Warning | str, *rest: object, **more: object) -> None:
        tell(Noted(run, " ".join(str(message).split()), warning=True))

    handler = _Handler(run, tell)
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = say
            yield
    finally:
        logging.getLogger().removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, run: str, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._run, self._tell = run, tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(Noted(self._run, self.format(record), warning=True))
