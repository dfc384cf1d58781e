"""Runs in this process end with the same events as those of any executor, and a signal ends the comparison."""

import os
import signal

import pytest

from dynpool.training.errors import StoppedError
from dynpool.training.executors.events import Advanced, Ended, EpochEnded, Event, Failed, Started
from dynpool.training.executors.in_process import InProcess
from dynpool.training.stop import Stop, stopping
from tests.dynpool.training.runs import tiny_run


def test_a_run_tells_its_start_epochs_and_end(tmp_path):
    told: list[Event] = []
    executor = InProcess(Stop(), resume=False, overwrite=False)
    executor.start(tiny_run(tmp_path / "run", "--epochs=1"))
    executor.wait(told.append)
    kinds = [type(event) for event in told if not isinstance(event, Advanced)]
    assert kinds == [Started, EpochEnded, EpochEnded, Ended]
    last = told[-1]
    assert isinstance(last, Ended)
    assert last.figures["epochs"] == 1
    assert last.folder == str(tmp_path / "run")
    executor.start(tiny_run(tmp_path / "run", "--epochs=1"))
    executor.wait(told.append)
    failed = told[-1]
    assert isinstance(failed, Failed)
    assert "already holds a run" in failed.reason


def test_a_signal_during_the_last_epoch_ends_the_comparison(tmp_path):
    told: list[Event] = []

    def tell(event):
        told.append(event)
        if isinstance(event, EpochEnded) and event.row["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with stopping() as stop:
        executor = InProcess(stop, resume=False, overwrite=False)
        executor.start(tiny_run(tmp_path / "run", "--epochs=1"))
        with pytest.raises(StoppedError):
            executor.wait(tell)
    assert isinstance(told[-1], Ended)  # there was nothing left to stop
