"""Datasets: decoded once, held as uint8, shuffled and augmented with explicit generators.

A registry of sources (digits, CIFAR, image folders) returns uint8 images. `load_data` renders the requested variant and
resolution. `Images.batches` draws one epoch of a split as a pure function of (seed, epoch), so a resumed run gets
exactly the same batches.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from einops import rearrange

from .cache import Arrays, cache_folder, cached, files_fingerprint
from .chosen import chosen_images
from .data_config import DataConfig
from .digit_scenes import CLASSES, digit_scenes
from .digits import digit_images
from .digits_in_motion import MOTIONS, digits_in_motion
from .errors import DataError
from .image_files import ImageFiles, aircraft_files, folder_files
from .images import DECODING, decode_image
from .mask_files import MASKED_LISTINGS
from .masked_images import MaskedFiles
from .moments import imagenet_moments, moments, with_channels
from .pulses import PULSES, pulse_series
from .seeding import generator_for
from .splits import Dataset, Images, Split, StreamedImages
from .variants import VARIANTS

__all__ = ["SOURCES", "Dataset", "Images", "Split", "imagenet_moments", "load_data"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Raw images (uint8, (N, C, H, W)) and labels of both splits of a dataset, and the names of its classes.

    Clips are (N, C, D, H, W), sequences (N, C, L). Labels are classes (N,), or masks (N, H, W) of uint8.
    """

    arrays: Arrays
    classes: tuple[str, ...]


def _digits(config: DataConfig) -> Source:
    return Source(digit_images(config), tuple(map(str, range(10))))


def _digit_scenes(config: DataConfig) -> Source:
    return Source(digit_scenes(config), CLASSES)


def _digits_in_motion(config: DataConfig) -> Source:
    return Source(digits_in_motion(config), MOTIONS)


def _pulses(config: DataConfig) -> Source:
    return Source(pulse_series(config), PULSES)


def _cifar(config: DataConfig) -> Source:
    """CIFAR-10 or CIFAR-100, read by torchvision."""
    import torchvision

    kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[config.name]
    if config.root is None:
        raise DataError(f"data.root is null; {config.name} needs the folder that holds {kind.base_folder}/")
    root = Path(config.root)
    inner = root / kind.base_folder
    if config.download:
        kind(str(root), download=True)
    if not inner.is_dir():
        raise DataError(
            f"data.root is {config.root!r}: no folder {kind.base_folder}/ in it; "
            "unpack the dataset there, or download it with --data.download true"
        )

    def build() -> Arrays:
        arrays: dict[str, np.ndarray] = {}
        for split in ("train", "test"):
            try:
                part = kind(str(root), train=split == "train", download=False)
            except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
                raise DataError(f"{inner}: damaged or incomplete: {error}") from error
            arrays[f"{split}_images"] = np.ascontiguousarray(rearrange(part.data, "n h w c -> n c h w"))
            arrays[f"{split}_labels"] = np.asarray(part.targets, dtype=np.int64)
        return arrays

    try:
        mark = files_fingerprint(root, (f for f in inner.iterdir() if f.is_file()), config.name)
    except OSError as error:
        raise DataError(f"{inner}: cannot be read: {error.strerror}") from None
    arrays = cached(cache_folder(config.cache), f"{config.name}-{mark[:12]}", mark, build)
    return Source(arrays, tuple(str(i) for i in range(10 if config.name == "cifar10" else 100)))


def _files(config: DataConfig) -> Source:
    """The images of files, each decoded to the size that the variant first gives it."""
    listed = LISTINGS[config.name](config)
    channels = config.channels or 3
    side = config.detail or config.resolution

    def build() -> Arrays:
        _warn_of_stray_files(listed)
        arrays: dict[str, np.ndarray] = {}
        for split, files in listed.files.items():
            images = np.empty((len(files), channels, side, side), dtype=np.uint8)

            def decode(i: int, images: np.ndarray = images, files: Sequence[Path] = files) -> None:
                images[i] = decode_image(files[i], side, channels, margin=config.margin)

            with ThreadPoolExecutor() as pool:
                for _ in pool.map(decode, range(len(images))):
                    pass
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = np.asarray(listed.labels[split], dtype=np.int64)
        return arrays

    root, files = listed.root, listed.files["train"] + listed.files["test"]
    settings = f"{DECODING} {side} {channels}" + (f" {config.margin:g}" if config.margin < 1 else "")
    try:
        mark = files_fingerprint(root, files, settings)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    arrays = cached(cache_folder(config.cache), f"{root.resolve().name}-{side}-{mark[:12]}", mark, build)
    return Source(arrays, listed.classes)


def _warn_of_stray_files(listed: ImageFiles) -> None:
    if strays := listed.strays:
        log.warning(
            "%s: image files in no class folder are not used (%d, first: %s)", listed.root, len(strays), strays[0]
        )


LISTINGS: Mapping[str, Callable[[DataConfig], ImageFiles]] = MappingProxyType(
    {"folder": folder_files, "aircraft": aircraft_files}
)

SOURCES: Mapping[str, Callable[[DataConfig], Source]] = MappingProxyType(
    {
        "digits": _digits, "cifar10": _cifar, "cifar100": _cifar, "folder": _files, "aircraft": _files,
        "digits-scene": _digit_scenes, "digits-motion": _digits_in_motion, "pulses": _pulses,
    }
)  # fmt: skip


def load_data(config: DataConfig) -> Dataset:
    """The dataset that `config` describes, on the CPU. The same config gives the same pixels and the same split.

    With `validation` the second split is of training images, which are no longer in the first; the others keep their
    pixels. `train_images` are chosen of what is left. Mean and deviation are those of the images that remain.

    Raises:
        DataError: if the dataset is missing, incomplete or damaged; the message names the folder or file and what is
            expected. Also if a class has too few images for `validation` or `train_images`.
        DiskFullError, UnwritableError: if its cache cannot be written.
    """
    if config.name in MASKED_LISTINGS:
        return _masked(config)
    if config.stream:
        return _streamed(config)
    source = SOURCES[config.name](config)
    images, labels = {}, {}
    for split in ("train",) if config.validation is not None else ("train", "test"):
        raw = torch.as_tensor(source.arrays[f"{split}_images"])
        if config.axes == 2:
            raw = VARIANTS[config.variant](raw, config.resolution, generator_for(config.variant, split), config.detail)
        images[split] = with_channels(raw, config.channels)
        given = torch.as_tensor(np.asarray(source.arrays[f"{split}_labels"]))
        labels[split] = given.long() if given.ndim == 1 else given
    if config.validation is not None:
        held_out = chosen_images("validation", labels["train"], config.validation, source.classes)
        images = {"train": images["train"][~held_out], "test": images["train"][held_out]}
        labels = {"train": labels["train"][~held_out], "test": labels["train"][held_out]}
    if config.train_images is not None:
        kept = chosen_images("train_images", labels["train"], config.train_images, source.classes)
        images["train"], labels["train"] = images["train"][kept], labels["train"][kept]
    mean, std = moments(images["train"]) if config.normalise == "data" else imagenet_moments(images["train"].shape[1])
    train, test = (Images(labels[split], mean, std, images[split]) for split in ("train", "test"))
    return Dataset(train, test, source.classes)


def _masked(config: DataConfig) -> Dataset:
    """The splits of files of images and masks, which are decoded as they are needed."""
    listed = MASKED_LISTINGS[config.name](config)
    channels = config.channels or 3
    mean, std = imagenet_moments(channels)
    pairs = dict(listed.pairs)
    if config.validation is not None:
        of_training = pairs["train"]
        held_out = chosen_images("validation", torch.zeros(len(of_training), 0), config.validation, listed.classes)
        pairs = {
            split: tuple(pair for pair, held in zip(of_training, held_out.tolist(), strict=True) if held == wanted)
            for split, wanted in (("train", False), ("test", True))
        }
    if config.train_images is not None:
        kept = chosen_images("train_images", torch.zeros(len(pairs["train"]), 0), config.train_images, listed.classes)
        pairs["train"] = tuple(pair for pair, k in zip(pairs["train"], kept.tolist(), strict=True) if k)
    train, test = (
        MaskedFiles(
            torch.arange(len(pairs[split])), mean, std,
            files=pairs[split], side=config.resolution, channels=channels, workers=config.workers,
            classes=len(listed.classes), own_size=split == "test" and config.test == "sliding",
        )
        for split in ("train", "test")
    )  # fmt: skip
    return Dataset(train, test, listed.classes)


def _streamed(config: DataConfig) -> Dataset:
    """The splits of image files that are decoded as they are needed."""
    listed = LISTINGS[config.name](config)
    _warn_of_stray_files(listed)
    channels = config.channels or 3
    mean, std = imagenet_moments(channels)
    labels = {split: torch.tensor(values) for split, values in listed.labels.items()}
    chosen = {split: torch.arange(len(values)) for split, values in labels.items()}
    if config.validation is not None:
        held_out = chosen_images("validation", labels["train"], config.validation, listed.classes)
        chosen = {"train": chosen["train"][~held_out], "test": chosen["train"][held_out]}
    if config.train_images is not None:
        kept = chosen_images("train_images", labels["train"][chosen["train"]], config.train_images, listed.classes)
        chosen["train"] = chosen["train"][kept]
    of = {split: "train" if config.validation is not None else split for split in chosen}
    train, test = (
        StreamedImages(
            labels[of[split]][numbers], mean, std,
            files=tuple(listed.files[of[split]][number] for number in numbers.tolist()),
            side=config.resolution, channels=channels, workers=config.workers, margin=config.margin,
        )
        for split, numbers in chosen.items()
    )  # fmt: skip
    return Dataset(train, test, listed.classes)
