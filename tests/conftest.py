"""What every test starts from."""

import functools
import gc
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


@pytest.fixture
def undrawn_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn for a VGG: torchvision's has 120 million weights that the form for small images does without."""
    import torchvision
    from torch import nn

    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: None)
    monkeypatch.setattr("torchvision.models.VGG", functools.partial(torchvision.models.VGG, init_weights=False))


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
