"""A trained network that is no run: a model with the weights of a checkpoint, and a folder of images."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn

import dynpool
from dynpool.analysis.common.checksums import file_digest

from .config_sections import DataConfig
from .data import Dataset, Images, load_data
from .errors import ConfigError
from .subjects import Subject

__all__ = ["folder_of_images", "subject_of_checkpoint"]


def folder_of_images(folder: Path, input_size: tuple[int, ...], *, normalise: str) -> Dataset:
    """The images of a folder with train/CLASS/* and test/CLASS/*, as a model with this input size takes them.

    Args:
        folder: the folder.
        input_size: (1 or 3, side, side) in pixels.
        normalise: "folder", by mean and deviation of its training images; or "imagenet", by those of ImageNet.

    Raises:
        ConfigError: for another input size, or three channels' moments with one channel.
        DataError: if the folder is missing or its images cannot be used.
    """
    if len(input_size) != 3 or input_size[1] != input_size[2] or input_size[0] not in (1, 3):
        shape = "x".join(map(str, input_size))
        raise ConfigError(f"--input-size is {shape}; allowed with a folder of images: square ones with 1 or 3 channels")
    channels, side = input_size[:2]
    if normalise == "imagenet" and channels != 3:
        raise ConfigError("--normalise imagenet has moments of three channels, not of one: use --normalise folder")
    moments: Literal["data", "imagenet"] = "imagenet" if normalise == "imagenet" else "data"
    return load_data(DataConfig("folder", root=str(folder), resolution=side, channels=channels, normalise=moments))


def subject_of_checkpoint(name: str, model: nn.Module, checkpoint: Path, folder: Path, dataset: Dataset) -> Subject:
    """A model and a folder of images, for inspection.

    Args:
        name: of the model.
        model: with the weights of the checkpoint.
        checkpoint: the file, whose content decides whether earlier results count.
        folder: of the images, likewise.
        dataset: its images.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = [
        [int(split.images.sum(dtype=torch.int64)), len(split), split.mean.flatten().tolist()]
        for split in (dataset.train, dataset.test)
        if isinstance(split, Images)
    ]
    return Subject(
        name=f"{name} with {checkpoint}",
        digest={
            "model": name,
            "checkpoint": file_digest(checkpoint),
            "folder": str(folder.resolve()),
            "images": images,
            "input_size": list(dataset.input_size),
            "dynpool": dynpool.__version__,
        },
        load=lambda: (model.to(device), dataset.to(device)),
        config=None,
    )
