"""A run that torchrun starts again continues by itself, and ends with what it would have come to."""

import os
import platform
import socket
import subprocess
import sys

import pytest
import torch

from dynpool.training import checkpoint as checkpoints
from dynpool.training.restarts import continues, launch

# Two runs one after the other; in epoch 2 of the second, the process that writes the files is killed.
SCRIPT = """\
import os, signal, sys
from dynpool.training import loop, run
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config

train = run.Run._pass

def dying(self, course, reporter):
    if self.config.name == "killed" and course.epoch == 2 and os.environ["RANK"] == "0":
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
    return train(self, course, reporter)

run.Run._pass = dying
for name in ("straight", "killed"):
    out = os.path.join(sys.argv[1], name)
    loop.train(load_config(RunConfig, None, [*sys.argv[2:], "--name", name, "--out", out])[0])
"""
OPTIONS = [
    "--model.options.widths=[4,6]", "--data.variant=tile", "--data.resolution=8", "--epochs=3",
    "--data.test_fraction=0.9", "--lr=0.05", "--alpha_lr=1", "--threads=1", "--device=cpu", "--gmacs_weight=10",
]  # fmt: skip


def test_a_killed_process_is_started_again_to_the_same_result(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", f"--master-port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, *launcher, str(script), str(tmp_path), *OPTIONS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr
    straight, killed = (checkpoints.load(checkpoints.last_path(tmp_path / name)) for name in ("straight", "killed"))
    assert killed.epoch == 3
    assert killed.lines == straight.lines
    for name, value in straight.model.items():
        assert torch.equal(value, killed.model[name]), name
    assert [row["train_loss"] for row in killed.rows or ()] == [row["train_loss"] for row in straight.rows or ()]


@pytest.mark.parametrize(
    ("attempt", "recorded", "expected"),
    [("0", "mine", False), ("1", "mine", True), ("1", "another", False), ("1", None, False)],
)
def test_only_a_run_of_the_same_torchrun_continues(monkeypatch, attempt, recorded, expected):
    """A run that lay in the folder before is not continued: the first attempt refused it."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
    assert launch() == f"none {platform.node()} {os.getppid()}"
    known = {"mine": launch(), "another": f"none {platform.node()} 1"}
    sessions = [] if recorded is None else [{"launch": "earlier"}, {"launch": known[recorded]}]
    assert continues(lambda: sessions) is expected


def test_without_torchrun_no_run_continues_by_itself(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    assert launch() is None
    assert not continues(lambda: [{"launch": None}])
