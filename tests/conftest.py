"""What every test starts from."""

import gc
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


def pytest_collection_finish() -> None:
    """Spare the garbage collector the tests and modules: each training run collects, to measure its memory."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """Signals as a terminal gives them, also to the processes that a test starts: background jobs ignore Ctrl-C."""
    defaults: dict[str, Handler] = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }
    known = {getattr(signal, name): handler for name, handler in defaults.items() if hasattr(signal, name)}
    ignored = {number: handler for number, handler in known.items() if signal.getsignal(number) is signal.SIG_IGN}
    for number, handler in ignored.items():
        signal.signal(number, handler)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
