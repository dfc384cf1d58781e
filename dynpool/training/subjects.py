"""What is inspected: a trained network with its images, of a run or of a checkpoint by name."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dynpool
from dynpool.analysis.common.batches import random_states_kept
from dynpool.analysis.common.checksums import file_digest

from .checkpoint import last_path
from .config import RunConfig
from .config_file import load_config
from .data import Dataset, Split, load_data
from .errors import ConfigError, RunFolderError
from .loop import prepare_model
from .restored import restored_model

__all__ = ["InOrder", "Subject", "subject_of_run"]

BATCH = 128


@dataclass(frozen=True)
class InOrder:
    """The images of a split in a fixed order, drawn from a seed, without augmentation, at most so many.

    Attributes:
        images: the split.
        seed: of the order.
        channels_last: the memory format of the batches.
        most: number of images at most; None: all.
        size: of a batch.
    """

    images: Split
    seed: int
    channels_last: bool
    most: int | None = None
    size: int = BATCH

    def __len__(self) -> int:
        return math.ceil(self._count / self.size)

    @property
    def _count(self) -> int:
        return len(self.images) if self.most is None else min(self.most, len(self.images))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        left = self._count
        for images, labels in self.images.batches(self.size, seed=self.seed):
            if left <= 0:
                return
            taken = images[:left]
            if self.channels_last:
                taken = taken.contiguous(memory_format=torch.channels_last)
            yield taken, labels[:left]
            left -= len(taken)


@dataclass(frozen=True)
class Subject:
    """A trained network and its images.

    Attributes:
        name: for messages.
        digest: plain data that decides the network and the images.
        load: gives the network and the images, both on the device to measure on.
        config: of the run; None for a checkpoint, whose settings of training are not known.
        seed: of the order of images.
        channels_last: the memory format of the images.
    """

    name: str
    digest: Mapping[str, Any]
    load: Callable[[], tuple[nn.Module, Dataset]]
    config: RunConfig | None
    seed: int = 0
    channels_last: bool = False

    def batches(self, images: Split, most: int | None = None, size: int = BATCH) -> InOrder:
        """The images of a split in their fixed order."""
        return InOrder(images, self.seed, self.channels_last, most, size)

    def initial(self, dataset: Dataset) -> nn.Module:
        """The network of a run with the weights of its seed before training, where the trained one is.

        Raises:
            RunFolderError: for a checkpoint, whose initial weights are not known.
        """
        if self.config is None:
            raise RunFolderError(f"{self.name}: the weights before training are not known")
        with random_states_kept():
            model = prepare_model(self.config, dataset).model
        return model.to(dataset.train.labels.device)


def subject_of_run(folder: Path) -> Subject:
    """The network and the images of a run.

    Raises:
        ConfigError: if config.yaml is missing or damaged, or its run is not one of classification of images.
        RunFolderError: if there is no checkpoint yet.
    """
    config, _ = load_config(RunConfig, folder / "config.yaml")
    if config.task != "classification":
        raise ConfigError(f"{folder}: task is {config.task}; allowed: classification, as images need one class each")
    if config.data.axes != 2:
        raise ConfigError(f"{folder}: data.name is {config.data.name!r}; allowed: those of images, not clips or series")
    path = last_path(folder)
    if not path.exists():
        raise RunFolderError(f"{folder} has no checkpoint yet: {path} is missing")

    def load() -> tuple[nn.Module, Dataset]:
        model, _ = restored_model(folder)
        device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
        return model.to(device), load_data(config.data).to(device)

    return Subject(
        name=str(folder),
        digest={"checkpoint": file_digest(path), "dynpool": dynpool.__version__},
        load=load,
        config=replace(config, out=str(folder)),
        seed=config.seed,
        channels_last=config.channels_last,
    )
