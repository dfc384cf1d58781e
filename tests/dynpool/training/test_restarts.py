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

# Three runs one after the other, of a network that draws more numbers the more images it gets: of an odd batch, the
# processes draw differently many. In epoch 2 of the second, the process that writes the files is killed; the third is
# stopped by the other process in the middle of epoch 1, and again when only the test of that epoch is left.
SCRIPT = """\
import os, signal, sys
from dynpool.training import loop, run
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.errors import StoppedError

train, asked = run.Run._train, run.Run._stop_if_asked
stops = {(1, 2), (1, 6)}

def dying(self, progress, reporter):
    if self.config.name == "killed" and progress.epoch == 2 and os.environ["RANK"] == "0":
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
    return train(self, progress, reporter)

def stopped(self, progress):
    place = (progress.epoch, progress.step)
    if self.config.name == "stopped" and place in stops:
        stops.discard(place)
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
    return asked(self, progress)

run.Run._train, run.Run._stop_if_asked = dying, stopped
for name in ("straight", "killed", "stopped"):
    out = os.path.join(sys.argv[1], name)
    config = load_config(RunConfig, None, [*sys.argv[2:], "--name", name, "--out", out])[0]
    for resume in (False, True, True):
        try:
            loop.train(config, resume=resume)
            break
        except StoppedError as error:
            print(error, flush=True)
"""
NETWORK = """\
import torch
from dynpool.training.models import narrow_vgg

class Noise(torch.nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.rand(x.shape) if self.training else x

def make(num_classes, in_channels):
    return torch.nn.Sequential(Noise(), narrow_vgg(num_classes, in_channels, widths=[4, 6]))
"""
OPTIONS = [
    "--model.name=noisy_net:make", "--data.variant=tile", "--data.resolution=8", "--epochs=2", "--batch_size=33",
    "--data.test_fraction=0.9", "--lr=0.05", "--alpha_lr=1", "--threads=1", "--device=cpu", "--gmacs_weight=10",
]  # fmt: skip


def test_a_killed_process_is_started_again_to_the_same_result(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "noisy_net.py").write_text(NETWORK)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", f"--master-port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{os.getcwd()}{os.pathsep}{tmp_path}"}
    command = [sys.executable, *launcher, str(script), str(tmp_path), *OPTIONS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr
    assert done.stdout.count("and step 2 of epoch 1") == done.stdout.count("and step 6 of epoch 1") == 2
    straight, *others = (
        checkpoints.load(checkpoints.last_path(tmp_path / n)) for n in ("straight", "killed", "stopped")
    )
    first, second = straight.ranks or ()
    assert not torch.equal(first["cpu"], second["cpu"]), "the processes drew differently many numbers"
    for other in others:
        assert other.epoch == 2
        assert other.lines == straight.lines
        for name, value in straight.model.items():
            assert torch.equal(value, other.model[name]), name
        assert figures(other) == figures(straight)
        for drawn, expected in zip(other.ranks or (), (first, second), strict=True):
            assert torch.equal(drawn["cpu"], expected["cpu"])


def figures(saved):
    return [{k: v for k, v in row.items() if "loss" in k or "accuracy" in k or k == "sizes"} for row in saved.rows]


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
