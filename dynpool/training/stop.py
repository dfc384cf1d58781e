"""Signals that ask a run to end: noted, and followed where the run can be saved.

SIGTERM and SIGHUP are what a cluster or a closed terminal sends, SIGINT is Ctrl-C. Handlers that the caller has set are
left as they are, and so are signals that are ignored (`nohup`).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed

from .errors import StoppedError
from .interrupts import leave

__all__ = ["FINISHED", "Stop", "stopping"]

FINISHED = "the finished epochs are saved"
"""What is so whenever a run ends."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _EndedError(BaseException):
    """Ends what is under way: no exception of it, which a library may take for its own."""


class Stop:
    """Whether a signal asked the run to end.

    Attributes:
        at_steps: the run looks here after every step; else a signal ends it at once.
    """

    def __init__(self) -> None:
        self.at_steps = False
        self._number = 0
        self._group: Any = None  # of processes, where there are several

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal. Ctrl-C ends the run at once if another signal has come before."""
        first, self._number = not self._number, self._number or number
        if (first and not self.at_steps) or (not first and number == signal.SIGINT):
            raise _EndedError

    def join(self, processes: int) -> None:
        """Have the processes of the run agree from here on: all of them end after the same step."""
        if processes > 1:
            self._group = torch.distributed.new_group(backend="gloo")

    def asked(self) -> bool:
        """Whether a signal has come, to any of the run's processes: all of them must ask."""
        if self._group is not None:
            number = torch.tensor(self._number)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX, group=self._group)
            self._number = int(number)
        return bool(self._number)

    def error(self, saved: str) -> KeyboardInterrupt | StoppedError:
        """What to raise, given what is saved, in words."""
        if self._number == signal.SIGINT:
            return KeyboardInterrupt(saved)
        return StoppedError(f"stopped by {signal.Signals(self._number).name}; {saved or FINISHED}")


@contextmanager
def stopping() -> Iterator[Stop]:
    """Note the signals that ask a run to end, as long as the block lasts. Outside the main thread none is seen.

    Raises:
        KeyboardInterrupt, StoppedError: a signal ended the block.
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
