"""Small runs for tests of training, and what is the same in two of them."""

import csv
from pathlib import Path

import torch
from torch import nn

from dynpool.training import checkpoint as checkpoints
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.latency import RunLatency
from dynpool.training.methods import Prepared, prepare

VARIES = ("seconds", "images_per_second", "peak_memory", "checksum")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in VARIES} for row in csv.DictReader(file)]


def assert_same_run(a: Path, b: Path) -> None:
    assert rows(a) == rows(b)
    assert (a / "i_min.jsonl").read_text() == (b / "i_min.jsonl").read_text()
    one, two = (checkpoints.load(checkpoints.last_path(run)) for run in (a, b))
    assert one.epoch == two.epoch
    for name, value in one.model.items():
        assert torch.equal(value, two.model[name]), name
    for state, other in zip(one.optimizer["state"].values(), two.optimizer["state"].values(), strict=True):
        assert torch.equal(state["momentum_buffer"], other["momentum_buffer"])


TINY_OPTIONS = [
    "--name=tiny", "--model.options.widths=[4,6,8]", "--data.variant=tile", "--data.resolution=16", "--epochs=4",
    "--data.test_fraction=0.8", "--data.shift=1", "--lr=0.05", "--alpha_lr=1", "--alpha_momentum=0.9", "--threads=1",
    "--gmacs_weight=10", "--device=cpu", "--checkpoint_every=1",
]  # fmt: skip


def tiny_run(out: Path, *options: str) -> RunConfig:
    return load_config(RunConfig, None, [*TINY_OPTIONS, "--out", str(out), *options])[0]


def without_norm(num_classes: int, in_channels: int) -> nn.Module:
    """A small network of two resizers, without batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )  # fmt: skip


AIMED = ("--latency.configurations=6", "--latency.repeats=1", "--alpha_until=0.5", "--budget_weight=2")


def latency_started(model: nn.Module, config: RunConfig, size: tuple[int, int, int]) -> tuple[Prepared, RunLatency]:
    """The network as a run prepares it, with its latency measured."""
    prepared = prepare(model, config, size)
    assert prepared.latency is not None
    prepared.latency.start(torch.device("cpu"), 1)
    return prepared, prepared.latency
