"""A signal ends a run where it can be saved; what follows equals the run that was never interrupted, bit for bit."""

import os
import signal
import threading

import pytest
import torch

from dynpool.training import checkpoint as checkpoints
from dynpool.training import loop
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.errors import StoppedError
from dynpool.training.stop import stopping

OPTIONS = [
    "--name=tiny", "--model.options.widths=[4,6,8]", "--data.variant=tile", "--data.resolution=16",
    "--data.test_fraction=0.9", "--data.shift=1", "--data.flip=true", "--batch_size=32", "--epochs=2", "--lr=0.05",
    "--alpha_lr=1", "--threads=1", "--gmacs_weight=1", "--device=cpu",
]  # fmt: skip
VARIES = ("seconds", "images_per_second", "peak_memory")


def run_of(out) -> RunConfig:
    return load_config(RunConfig, None, [*OPTIONS, "--out", str(out)])[0]


def end(out) -> checkpoints.Checkpoint:
    return checkpoints.load(checkpoints.last_path(out))


def rows(saved):
    return [{key: value for key, value in row.items() if key not in VARIES} for row in saved.rows]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    out = tmp_path_factory.mktemp("straight") / "run"
    loop.train(run_of(out))
    return end(out)


class Signalling:
    """A reporter that sends this process a signal after so many batches."""

    def __init__(self, number: int, batches: int) -> None:
        self.number, self.left = number, batches

    def start(self, *_):
        pass

    def epoch(self, *_):
        pass

    def advance(self, images):
        self.left -= images > 0
        if self.left == 0:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "raised", "batches", "saved"),
    [
        (signal.SIGTERM, StoppedError, 1, "step 1 of epoch 1"),
        (signal.SIGHUP, StoppedError, 3, "step 3 of epoch 1"),
        (signal.SIGINT, KeyboardInterrupt, 8, "step 2 of epoch 2"),
        (signal.SIGTERM, StoppedError, 12, "step 6 of epoch 2"),  # the last of the epoch: only its test is left
    ],
)
def test_stopped_in_the_middle_of_an_epoch_and_resumed(straight, tmp_path, number, raised, batches, saved):
    """With augmentation, batch norm, momentum and learned sizes."""
    out = tmp_path / "run"
    before = signal.getsignal(number)
    with pytest.raises(raised, match=f"the finished epochs are saved, and {saved}"):
        loop.train(run_of(out), reporter=Signalling(number, batches))
    assert signal.getsignal(number) == before
    stopped = checkpoints.load(checkpoints.stopped_path(out))
    assert stopped.partial is not None
    assert not (out / "done.json").exists()
    loop.train(run_of(out), resume=True)
    assert not checkpoints.stopped_path(out).exists()
    resumed = end(out)
    assert rows(resumed) == rows(straight)
    assert resumed.lines == straight.lines
    for name, value in straight.model.items():
        assert torch.equal(value, resumed.model[name]), name
    assert torch.equal(resumed.rng["cpu"], straight.rng["cpu"])


def test_before_the_first_step_a_signal_ends_a_run_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "load_data", lambda config: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedError, match="stopped by SIGTERM"):
        loop.train(run_of(tmp_path / "run"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_only_a_second_ctrl_c_interrupts_a_step():
    noted: list[object] = []

    def steps():
        with stopping() as stop:
            stop.at_steps = True
            for _ in range(2):  # clusters send it to the processes of a job more than once
                os.kill(os.getpid(), signal.SIGTERM)
            noted.append(stop.asked())
            os.kill(os.getpid(), signal.SIGINT)
            noted.append("not reached")

    with pytest.raises(StoppedError, match="SIGTERM"):
        steps()
    assert noted == [True]


def test_a_signal_is_not_taken_for_an_error_of_what_it_ends():
    def convert():
        with stopping():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception as error:
                raise ValueError("the model cannot run") from error

    with pytest.raises(StoppedError, match="SIGTERM"):
        convert()


def test_handlers_of_the_caller_and_ignored_signals_are_left_alone():
    def mine(number, frame):
        raise AssertionError

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        signal.signal(signal.SIGTERM, mine)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stopping() as stop:
            assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) == stop.note
        assert signal.getsignal(signal.SIGINT) == before[signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_outside_the_main_thread_no_signal_is_noted():
    seen = []

    def enter():
        with stopping() as stop:
            seen.append(stop.asked())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [False]
