"""Runs whose weights are divided between two processes are those of one process with the same batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dynpool.training import checkpoint as checkpoints
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.errors import ConfigError
from dynpool.training.loop import train
from tests.dynpool.training.runs import TINY_OPTIONS, rows

# Three runs of two processes: each has a replica of the network, a shard of it, and a shard in a run that is stopped in
# epoch 1 and continued.
SCRIPT = """\
import os, signal, sys
from dynpool.training import loop, run
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.errors import StoppedError
from torch.distributed.tensor import DTensor

asked, stops = run.Run._stop_if_asked, {(1, 2)}

def stopped(self, progress):
    weights = list(self.model.parameters())
    sharded = [isinstance(weight, DTensor) for weight in weights]
    assert any(sharded) == self.config.shard and not all(sharded), sharded
    held = sum(weight.to_local().numel() if isinstance(weight, DTensor) else weight.numel() for weight in weights)
    assert held <= 0.7 * sum(weight.numel() for weight in weights) or not self.config.shard, held
    place = (progress.epoch, progress.step)
    if self.config.name == "stopped" and place in stops and os.environ["RANK"] == "1":
        stops.discard(place)
        os.kill(os.getpid(), signal.SIGTERM)
    return asked(self, progress)

run.Run._stop_if_asked = stopped
for name in ("whole", "sharded", "stopped"):
    out = os.path.join(sys.argv[1], name)
    shard = "false" if name == "whole" else "true"
    config = load_config(RunConfig, None, [*sys.argv[2:], "--name", name, "--out", out, "--shard", shard])[0]
    for resume in (False, True):
        try:
            loop.train(config, resume=resume)
            break
        except StoppedError as error:
            print(error, flush=True)
"""
OPTIONS = [
    *(option for option in TINY_OPTIONS if not option.startswith(("--model", "--epochs", "--checkpoint"))),
    "--model.name=tests.dynpool.training.runs:without_norm", "--epochs=2", "--batch_size=32",
    "--optimizer.clip_norm=1", "--optimizer.accumulate=4", "--data.train_images=293", "--alpha_lr=20",
]  # fmt: skip


def config_of(out: Path) -> RunConfig:
    return load_config(RunConfig, None, [*OPTIONS, "--name", out.name, "--out", str(out)])[0]


def test_sharded_runs_are_those_of_one_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, *launcher, str(script), str(tmp_path), *OPTIONS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("and step 2 of epoch 1") == 2
    train(config_of(tmp_path / "single"))
    names = ("single", "whole", "sharded", "stopped")
    single, *others = (checkpoints.load(checkpoints.last_path(tmp_path / name)) for name in names)
    begun = rows(tmp_path / "single")[0]
    assert rows(tmp_path / "single")[-1]["sizes"] != begun["sizes"], "sizes have moved"
    for name, other in zip(names[1:], others, strict=True):
        for key, value in single.model.items():
            assert type(other.model[key]) is torch.Tensor
            torch.testing.assert_close(other.model[key], value, rtol=1e-3, atol=1e-5, msg=lambda m: f"{name} {m}")  # noqa: B023
        for index, entry in single.optimizer["state"].items():
            for key, value in entry.items():
                assert other.optimizer["state"][index][key].shape == value.shape
        for row, expected in zip(rows(tmp_path / name), rows(tmp_path / "single"), strict=True):
            assert row["sizes"] == expected["sizes"]
            assert row["parameters"] == expected["parameters"]
            for key in ("task_loss", "gmacs_loss", "test_loss", "test_accuracy"):
                if expected[key]:
                    assert float(row[key]) == pytest.approx(float(expected[key]), rel=1e-4), (name, key)
    assert train(config_of(tmp_path / "sharded"), resume=True)["epochs"] == 2, "one process can read it"


@pytest.mark.parametrize(
    "options", [["--ema", "0.9"], ["--precision", "fp16"], ["--sensitivity_every", "1"], ["--latency.measure", "true"]]
)
def test_what_needs_whole_networks_is_refused(tiny, options):
    with pytest.raises(ConfigError, match=r"shard is True; allowed: false, unless ema, compile, .* and fp16 are off"):
        tiny("--shard", "true", *options)
