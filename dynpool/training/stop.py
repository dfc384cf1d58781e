"""Signals that stop a run: recorded, and handled where the run can be saved.

Clusters send SIGTERM, a closed terminal SIGHUP, Ctrl-C SIGINT. Handlers set by the caller and ignored signals (`nohup`)
are not changed.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed

from .errors import PeerError, StoppedError
from .interrupts import leave

__all__ = ["FINISHED", "Stop", "stopping"]

FINISHED = "the finished epochs are saved"
"""True whenever a run is stopped."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _EndedError(BaseException):
    """Raised by signal handlers; a BaseException, so that libraries do not catch it."""


class Stop:
    """The state of a requested stop.

    Attributes:
        at_steps: True if the run checks `asked` after every step; otherwise a signal ends it at once.
    """

    def __init__(self) -> None:
        self.at_steps = False
        self._number = 0
        self._group: Any = None  # the process group, if there are several processes

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """The signal handler. Ctrl-C ends the run at once if a signal was received before."""
        first, self._number = not self._number, self._number or number
        if (first and not self.at_steps) or (not first and number == signal.SIGINT):
            raise _EndedError

    def join(self, processes: int, timeout: float) -> None:
        """Synchronise stops between the processes of the run from now on, so that all end after the same step.

        Args:
            processes: of the run.
            timeout: seconds after which a process that does not take part is an error in the others.
        """
        if processes > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=timedelta(seconds=timeout))

    def asked(self, mark: int = 0) -> bool:
        """Whether any process of the run has received a signal. All processes must call this.

        Args:
            mark: a number that must be the same in all processes.

        Raises:
            PeerError: if it is not.
        """
        if self._group is not None:
            numbers = torch.tensor([self._number, mark, -mark])
            torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX, group=self._group)
            self._number, highest, lowest = numbers.tolist()
            if highest != -lowest:
                raise PeerError(f"the processes of the run no longer have the same learned sizes; {FINISHED}")
        return bool(self._number)

    def error(self, saved: str) -> KeyboardInterrupt | StoppedError:
        """The exception to raise; `saved` says what was saved."""
        if self._number == signal.SIGINT:
            return KeyboardInterrupt(saved)
        return StoppedError(f"stopped by {signal.Signals(self._number).name}; {saved or FINISHED}")


@contextmanager
def stopping() -> Iterator[Stop]:
    """A context that records signals which stop a run; without effect outside the main thread.

    Raises:
        KeyboardInterrupt, StoppedError: if a signal ended the block.
    """
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, leave):
                before[number] = signal.signal(number, stop.note)
    try:
        yield stop
    except _EndedError:
        raise stop.error("") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
