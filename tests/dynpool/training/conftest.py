"""Small runs that finish in a second."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.loop import train
from dynpool.training.models import narrow_vgg
from tests.dynpool.cost.simulated_device import simulate
from tests.dynpool.training.runs import tiny_run

TINY = """\
name: tiny
model: {name: narrow-vgg, options: {widths: [4, 6, 8]}}
data: {name: digits, variant: tile, resolution: 16, test_fraction: 0.8, shift: 1}
epochs: 2
batch_size: 64
lr: 0.05
alpha_lr: 0.3
device: cpu
threads: 1
"""


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture
def tiny(tiny_file):
    """tiny("--epochs", "3", out=...) -> the config of a small run."""

    def make(*options: str, out: Path | None = None) -> RunConfig:
        where = ["--out", str(out)] if out is not None else []
        return load_config(RunConfig, tiny_file, [*options, *where])[0]

    return make


@pytest.fixture
def read(tmp_path):
    """read(text, "--epochs", "3", kind=RunConfig) -> the configuration in a file of this text, and the flags."""

    def read(text, *options, kind=RunConfig):
        file = tmp_path / "c.yaml"
        file.write_text(text)
        return load_config(kind, file, options)

    return read


@pytest.fixture
def model() -> nn.Module:
    """A network of two resizers for images of one channel."""
    torch.manual_seed(0)
    return narrow_vgg(10, 1, widths=[4, 6, 8])


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The simulated device for `LatencyModel`; passes after an epoch are measured on the real one."""
    return simulate(monkeypatch)


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
    """Four epochs of the small run, without interruption."""
    out = tmp_path_factory.mktemp("straight") / "run"
    train(tiny_run(out))
    return out
