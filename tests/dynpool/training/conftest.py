"""Small runs that finish in a second."""

from pathlib import Path

import pytest

from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config

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
