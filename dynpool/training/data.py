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
from torch import Tensor

from .cache import Arrays, cache_folder, cached, files_fingerprint
from .config_sections import DataConfig
from .errors import DataError
from .image_files import ImageFiles, aircraft_files, folder_files
from .images import DECODING, decode_image
from .seeding import generator_for
from .splits import Dataset, Images, Split, StreamedImages
from .variants import VARIANTS

__all__ = ["SOURCES", "Dataset", "Images", "Split", "imagenet_moments", "load_data"]

log = logging.getLogger(__name__)

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation per channel


@dataclass(frozen=True)
class Source:
    """Raw images (uint8, (N, C, H, W)) and labels of both splits of a dataset, and the names of its classes."""

    arrays: Arrays
    classes: tuple[str, ...]


def _digits(config: DataConfig) -> Source:
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels, with a fixed split per class."""
    from sklearn.datasets import load_digits  # a second to import, so only when needed

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = torch.randperm(len(labels), generator=generator_for("digits")).numpy()
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = order[labels[order] == label]
        taken = round(len(members) * config.test_fraction)
        if not 0 < taken < len(members):
            raise DataError(
                f"data.test_fraction is {config.test_fraction!r}, which takes {taken} of the {len(members)} images of "
                f"class '{label}': every class needs at least one training and one test image"
            )
        test[members[:taken]] = True
    arrays = {
        "train_images": pixels[~test],
        "train_labels": labels[~test],
        "test_images": pixels[test],
        "test_labels": labels[test],
    }
    return Source(arrays, tuple(map(str, range(10))))


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
    {"digits": _digits, "cifar10": _cifar, "cifar100": _cifar, "folder": _files, "aircraft": _files}
)


def load_data(config: DataConfig) -> Dataset:
    """The dataset that `config` describes, on the CPU. The same config gives the same pixels and the same split.

    With `validation` the second split is of training images, which are no longer in the first; the others keep their
    pixels. `train_images` are chosen of what is left. Mean and deviation are those of the images that remain.

    Raises:
        DataError: if the dataset is missing, incomplete or damaged; the message names the folder or file and what is
            expected. Also if a class has too few images for `validation` or `train_images`.
        DiskFullError, UnwritableError: if its cache cannot be written.
    """
    if config.stream:
        return _streamed(config)
    source = SOURCES[config.name](config)
    images, labels = {}, {}
    for split in ("train",) if config.validation is not None else ("train", "test"):
        raw = torch.as_tensor(source.arrays[f"{split}_images"])
        raw = VARIANTS[config.variant](raw, config.resolution, generator_for(config.variant, split), config.detail)
        images[split] = _with_channels(raw, config.channels)
        labels[split] = torch.as_tensor(np.asarray(source.arrays[f"{split}_labels"])).long()
    if config.validation is not None:
        held_out = _chosen("validation", labels["train"], config.validation, source.classes)
        images = {"train": images["train"][~held_out], "test": images["train"][held_out]}
        labels = {"train": labels["train"][~held_out], "test": labels["train"][held_out]}
    if config.train_images is not None:
        kept = _chosen("train_images", labels["train"], config.train_images, source.classes)
        images["train"], labels["train"] = images["train"][kept], labels["train"][kept]
    mean, std = _moments(images["train"]) if config.normalise == "data" else imagenet_moments(images["train"].shape[1])
    train, test = (Images(labels[split], mean, std, images[split]) for split in ("train", "test"))
    return Dataset(train, test, source.classes)


def imagenet_moments(channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel of ImageNet's images, (1, 3, 1, 1) in units of 0..1.

    Raises:
        DataError: for another number of channels than 3.
    """
    if channels != 3:
        raise DataError(f"data.normalise is 'imagenet', whose moments are of 3 channels; the images have {channels}")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    return mean, std


def _streamed(config: DataConfig) -> Dataset:
    """The splits of image files that are decoded as they are needed."""
    listed = LISTINGS[config.name](config)
    _warn_of_stray_files(listed)
    channels = config.channels or 3
    mean, std = imagenet_moments(channels)
    labels = {split: torch.tensor(values) for split, values in listed.labels.items()}
    chosen = {split: torch.arange(len(values)) for split, values in labels.items()}
    if config.validation is not None:
        held_out = _chosen("validation", labels["train"], config.validation, listed.classes)
        chosen = {"train": chosen["train"][~held_out], "test": chosen["train"][held_out]}
    if config.train_images is not None:
        kept = _chosen("train_images", labels["train"][chosen["train"]], config.train_images, listed.classes)
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


def _chosen(key: str, labels: Tensor, share: float, classes: Sequence[str]) -> Tensor:
    """Whether each training image is one of those that a key of `data` chooses: (N,) bool, for all seeds alike.

    They are drawn in each class. The classes have the same proportions as before, rounded so that the total is `share`
    of the images, or the number.
    """
    counts = torch.bincount(labels, minlength=len(classes)).double()
    fraction = share if share < 1 else share / len(labels)
    ends = (counts.cumsum(0) * fraction).round().long()
    per_class = ends.diff(prepend=ends.new_zeros(1))
    for name, have, taken in zip(classes, counts.long().tolist(), per_class.tolist(), strict=True):
        both = key == "validation"
        if not 0 < taken <= have - both:
            shown = f"{share:g}" if share < 1 else f"{share:.0f}"
            raise DataError(
                f"data.{key} is {shown}, which takes {taken} of the {have} training images of class {name!r}: "
                f"every class needs at least one {'training and one validation image' if both else 'image'}"
            )
    order = torch.randperm(len(labels), generator=generator_for(key))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(per_class.tolist()):
        chosen[order[labels[order] == label][:count]] = True
    return chosen


def _with_channels(images: Tensor, channels: int | None) -> Tensor:
    have = images.shape[1]
    if channels is None or channels == have:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # luma of ITU-R BT.601
    return torch.cat([(part * weights).sum(1, keepdim=True).round_().to(torch.uint8) for part in images.split(1024)])


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel, (1, C, 1, 1) float32 in units of 0..1, summed exactly in integers."""
    total = torch.zeros(images.shape[1], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for part in images.split(1024):
        values = part.long()
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    count = images.numel() // images.shape[1]
    mean = total.double() / count
    std = (squares.double() / count - mean.square()).clamp_min(1.0).sqrt()
    return (mean / 255).float().view(1, -1, 1, 1), (std / 255).float().view(1, -1, 1, 1)
