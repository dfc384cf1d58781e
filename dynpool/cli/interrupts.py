"""Ctrl-C on the command line: it ends the program during imports, and is an exception while a command works."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["INTERRUPTED", "interruptible", "leave_at_once"]

INTERRUPTED = 130  # what a shell expects of a program ended by Ctrl-C


def _leave(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"dynpool: interrupted\n")
    os._exit(INTERRUPTED)


def leave_at_once() -> None:
    """From now on Ctrl-C ends the program with one line, except inside `interruptible`.

    An exception in the middle of an import may be swallowed, or leave half a module behind. Where Ctrl-C does something
    else than Python's default (a background job ignores it), it goes on doing so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def interruptible() -> Iterator[None]:
    """While a command works, Ctrl-C raises KeyboardInterrupt, so that it can say what is saved."""
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _leave)
