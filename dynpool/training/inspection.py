"""Inspection of a run's trained network on its own images, kept in the run's folder, for `dynpool inspect`."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import dynpool
from dynpool.analysis import InspectionReport, inspect
from dynpool.analysis.common.checksums import file_digest
from dynpool.analysis.representations import read_report

from .checkpoint import last_path
from .config import RunConfig
from .config_file import load_config
from .data import Images, load_data
from .errors import ConfigError, writing
from .files import write_atomically
from .restored import restored_model

__all__ = ["InspectionOptions", "inspect_run"]

BATCH = 128


@dataclass(frozen=True)
class InspectionOptions:
    """What to measure; see `dynpool.analysis.inspect`.

    Attributes:
        probes: fit probes.
        saturation: measure saturation.
        heatmaps: layers that get a probe at each position.
        layers: layers to look at; None: all convolutions and linear layers.
        images: images of each set at most, drawn from the run's seed; None: all.
        tolerance: of the tail.
        threshold: of the saturation.
        iterations: of a probe's solver at most.
        memory: bytes of activations to keep at most.
    """

    probes: bool = True
    saturation: bool = True
    heatmaps: tuple[str, ...] = ()
    layers: tuple[str, ...] | None = None
    images: int | None = None
    tolerance: float = 0.01
    threshold: float = 0.99
    iterations: int = 1000
    memory: int = 2**31


@dataclass
class _Batches:
    """The images of a split in a fixed order, without augmentation, at most so many."""

    images: Images
    config: RunConfig
    most: int | None

    def __len__(self) -> int:
        return math.ceil(self._count / BATCH)

    @property
    def _count(self) -> int:
        return len(self.images) if self.most is None else min(self.most, len(self.images))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        left = self._count
        for images, labels in self.images.batches(BATCH, seed=self.config.seed):
            if left <= 0:
                return
            taken = images[:left]
            if self.config.channels_last:
                taken = taken.contiguous(memory_format=torch.channels_last)
            yield taken, labels[:left]
            left -= len(taken)


def inspect_run(
    folder: Path,
    options: InspectionOptions,
    out: Path,
    *,
    progress: Callable[[str, int, int | None], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> tuple[InspectionReport, bool]:
    """The inspection of a run's last checkpoint, written to `out`, and whether it was there already.

    A report in `out` that was made with the same options from the same checkpoint is read, not made again.

    Args:
        folder: the run.
        options: what to measure.
        out: the folder of the report.
        progress, tell: see `dynpool.analysis.inspect`.

    Raises:
        ConfigError: for a layer that the network does not have, or images that cannot be probed.
        TrainingError: if the run has no checkpoint, or its files are damaged.
    """
    config, _ = load_config(RunConfig, folder / "config.yaml")
    model, _ = restored_model(folder)
    made_from = {
        "checkpoint": file_digest(last_path(folder)),
        "options": json.loads(json.dumps(asdict(options))),
        "dynpool": dynpool.__version__,
    }
    kept = _kept(out, made_from)
    if kept is not None:
        return kept, True
    device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
    dataset = load_data(config.data).to(device)
    train, held_out = (_Batches(images, config, options.images) for images in (dataset.train, dataset.test))
    try:
        report = inspect(
            model.to(device), train, held_out, layers=options.layers, probes=options.probes,
            saturation=options.saturation, heatmaps=options.heatmaps, threshold=options.threshold,
            tolerance=options.tolerance, iterations=options.iterations, memory=options.memory, seed=config.seed,
            progress=progress, tell=tell,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"{folder}: {error}") from error
    with writing(out, when_full="free some space"):
        report.write(out)
        write_atomically(out / MADE_FROM, lambda file: file.write(json.dumps(made_from, indent=2).encode() + b"\n"))
    return report, False


MADE_FROM = "made_from.json"


def _kept(out: Path, made_from: dict[str, object]) -> InspectionReport | None:
    """The report in a folder, if it was made from this; a damaged one is made again."""
    try:
        if json.loads((out / MADE_FROM).read_text(encoding="utf-8")) != made_from:
            return None
        return read_report(out / "inspection.json")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
