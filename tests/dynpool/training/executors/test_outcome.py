"""A run that is trained for an executor gives how it ended, in one line if it failed."""

import logging
import warnings

import pytest

from dynpool.training.executors.events import Ended, Event, Failed, Noted
from dynpool.training.executors.outcome import outcome_of, telling_warnings
from tests.dynpool.training.runs import tiny_run


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt("all is saved"), "interrupted; all is saved"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (
            ModuleNotFoundError("No module named 'timm'", name="timm"),
            "the package 'timm' is not installed",
        ),
    ],
)
def test_errors_that_can_be_mended_are_lines(tmp_path, monkeypatch, error, reason):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr("dynpool.training.loop.train", failing)
    run = tiny_run(tmp_path / "a")
    found = outcome_of(run, lambda event: None, resume=False, overwrite=False)
    assert isinstance(found, Failed)
    assert found.reason.startswith(reason)


@pytest.mark.parametrize("error", [ZeroDivisionError(), ModuleNotFoundError("no x", name="x"), BrokenPipeError()])
def test_others_are_raised(tmp_path, monkeypatch, error):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr("dynpool.training.loop.train", failing)
    run = tiny_run(tmp_path / "a")
    with pytest.raises(type(error)):
        outcome_of(run, lambda event: None, resume=False, overwrite=False)


def test_a_finished_run_gives_its_figures(tmp_path):
    run = tiny_run(tmp_path / "a", "--epochs=1")
    found = outcome_of(run, lambda event: None, resume=False, overwrite=False)
    assert isinstance(found, Ended)
    assert found.figures["epochs"] == 1


def test_warnings_are_told_while_the_context_is_open():
    told: list[Event] = []
    with telling_warnings("a", told.append):
        warnings.warn("an\nold one", stacklevel=1)
        logging.getLogger("mine").warning("beware of %d", 3)
        logging.getLogger("mine").info("nothing")
    logging.getLogger("mine").warning("later")
    assert told == [Noted("a", "an old one", warning=True), Noted("a", "beware of 3", warning=True)]
