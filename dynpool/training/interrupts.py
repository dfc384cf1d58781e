"""Signals that end a program: with one line during imports; while a command works, Ctrl-C is an exception."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["INTERRUPTED", "STOPPED", "interruptible", "leave", "leave_at_once"]

INTERRUPTED = 130  # the usual exit code after Ctrl-C
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again


def leave(signum: int, frame: FrameType | None) -> None:
    """Handle a signal: one line, then the end. Nothing is saved."""
    interrupted = signum == signal.SIGINT
    said = "interrupted" if interrupted else f"stopped by {signal.Signals(signum).name}"
    os.write(2, f"dynpool: {said}\n".encode())
    os._exit(INTERRUPTED if interrupted else STOPPED)


def leave_at_once() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP end the program with one line, outside of `interruptible` and `stopping`.

    An exception in the middle of an import may be swallowed, or leave a half-initialised module. Signals without their
    default handler are not changed (a background job ignores Ctrl-C).
    """
    for name, default in (
        ("SIGINT", signal.default_int_handler), ("SIGTERM", signal.SIG_DFL), ("SIGHUP", signal.SIG_DFL),
    ):  # fmt: skip
        number = getattr(signal, name, None)  # not every system has SIGHUP
        if number is not None and signal.getsignal(number) is default:
            signal.signal(number, leave)


@contextmanager
def interruptible() -> Iterator[None]:
    """A context in which Ctrl-C raises KeyboardInterrupt, so that a command can report what is saved."""
    if signal.getsignal(signal.SIGINT) is not leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, leave)
