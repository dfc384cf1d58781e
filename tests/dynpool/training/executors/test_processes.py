"""Runs in processes of their own: what they print, how they end, and how they are ended."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from dynpool.training.executors.events import Ended, EpochEnded, Event, Failed, Noted, Started
from dynpool.training.executors.processes import Processes
from tests.dynpool.training.runs import assert_same_run, tiny_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs are trained in one process there")

MODULE = """\
import logging, os, signal, sys, time, warnings
import torch
from tests.dynpool.training.runs import without_norm

def talking(num_classes, in_channels):
    print("built")
    print('{"event": "epoch"}')
    warnings.warn("old")
    logging.getLogger("mine").warning("beware")
    print("on stderr", file=sys.stderr)
    return without_norm(num_classes, in_channels)

def killed(num_classes, in_channels):
    os.kill(os.getpid(), signal.SIGKILL)

def forking(num_classes, in_channels):
    if os.fork() == 0:  # outlives the run, with its pipes
        while not os.path.exists(os.environ["END_OF_TEST"]): time.sleep(0.1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)

def broken(num_classes, in_channels):
    print("last words", file=sys.stderr)
    os._exit(3)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of models, which processes find."""
    (tmp_path / "talkative.py").write_text(MODULE)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[4])])
    monkeypatch.setenv("PYTHONPATH", paths)
    return lambda name: (f"--model.name=talkative:{name}", "--model.options={}")


def all_of(executor, runs):
    """The events of runs, until all have ended."""
    told: list[Event] = []
    for run in runs:
        executor.start(run)
    while sum(isinstance(event, (Ended, Failed)) for event in told) < len(runs):
        executor.wait(told.append)
    executor.close()
    return told


def processes(workers=2, **more):
    return Processes(workers, threads=1, **{"resume": False, "overwrite": False} | more)


def test_two_at_once_give_what_one_gives_alone(straight, tmp_path):
    runs = [tiny_run(tmp_path / name, f"--name={name}") for name in ("a", "b")]
    told = all_of(processes(), runs)
    for run in runs:
        assert_same_run(straight, run.folder)
        mine = [type(event) for event in told if event.run == run.name and not isinstance(event, Noted)]
        assert [kind for kind in mine if kind in (Started, EpochEnded, Ended)] == [Started] + 5 * [EpochEnded] + [Ended]


def test_what_a_run_prints_is_told_under_its_name(mine, tmp_path):
    told = all_of(processes(), [tiny_run(tmp_path / "a", "--epochs=1", *mine("talking"))])
    noted = {(event.line, event.warning) for event in told if isinstance(event, Noted)}
    printed = {("built", False), ('{"event": "epoch"}', False)}
    assert noted >= printed | {("old", True), ("beware", True), ("on stderr", True)}
    assert isinstance(told[-1], Ended)


@pytest.mark.parametrize(
    ("model", "reason"),
    [("killed", "killed by SIGKILL"), ("forking", "killed by SIGKILL"), ("broken", "last words")],
)
def test_a_run_that_dies_is_named_and_the_other_goes_on(mine, tmp_path, monkeypatch, model, reason):
    monkeypatch.setenv("END_OF_TEST", str(tmp_path / "end"))
    lost = tiny_run(tmp_path / "a", "--name=a", *mine(model))
    told = all_of(processes(), [lost, tiny_run(tmp_path / "b", "--name=b", "--epochs=1")])
    last = {event.run: event for event in told if isinstance(event, (Ended, Failed))}
    assert last["a"] == Failed("a", reason)
    assert isinstance(last["b"], Ended)
    (tmp_path / "end").touch()  # those above do not wait for it


def test_an_error_of_the_users_is_the_reason(tmp_path):
    (tmp_path / "a").write_text("in the way")
    (failed,) = all_of(processes(), [tiny_run(tmp_path / "a")])
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("cannot write ")


def test_runs_that_are_closed_save_their_steps(tmp_path):
    told: list[Event] = []
    executor = processes()
    executor.start(tiny_run(tmp_path / "a", "--epochs=2000"))
    while not any(isinstance(event, EpochEnded) and event.row["epoch"] == 1 for event in told):
        executor.wait(told.append)
    executor.close()
    assert not (tmp_path / "a" / "done.json").exists()
    rows = (tmp_path / "a" / "metrics.csv").read_text()
    time.sleep(0.3)
    assert (tmp_path / "a" / "metrics.csv").read_text() == rows


def test_a_run_that_someone_else_stops_has_failed(tmp_path):
    told: list[Event] = []
    executor = processes()
    executor.start(tiny_run(tmp_path / "a", "--epochs=2000"))
    while not any(isinstance(event, EpochEnded) for event in told):
        executor.wait(told.append)
    executor._running[0].process.send_signal(signal.SIGTERM)
    while not isinstance(last := told[-1], Failed):
        executor.wait(told.append)
    assert last.reason.startswith("stopped by SIGTERM; the finished epochs are saved")
