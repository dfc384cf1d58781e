"""Datasets: decoded once, held as uint8, shuffled and augmented with explicit generators.

A registry of sources (digits, CIFAR, image folders) returns uint8 images. `load_data` renders the requested variant and
resolution. `Images.batches` draws one epoch of a split as a pure function of (seed, epoch), so a resumed run gets
exactly the same batches.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from dynpool.analysis.common.statistics import plural

from .cache import Arrays, cache_folder, cached, files_fingerprint
from .config_sections import DataConfig
from .errors import DataError
from .images import DECODING, decode_image
from .variants import VARIANTS

__all__ = ["SOURCES", "Dataset", "Images", "augment", "generator_for", "load_data"]

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})
ON_DEVICE_BYTES = 2**31  # a split up to this size is kept on the device


def generator_for(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded from the given parts, e.g. (seed, epoch, "order"); different parts are independent."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def augment(images: Tensor, *, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Randomly shifted and mirrored images of the same shape, dtype and device; one draw per image.

    Args:
        images: (N, C, H, W), any dtype.
        shift: largest shift in pixels along each axis; the border is padded with black.
        flip: mirror each image left to right with probability 1/2.
        generator: CPU generator, so that the draws do not depend on the device.
    """
    mirrored, moves = _draw(len(images), shift=shift, flip=flip, generator=generator)
    c, h, w = images.shape[1:]
    device = images.device
    if mirrored is not None:
        images = torch.where(rearrange(mirrored.to(device), "n -> n 1 1 1"), images.flip(-1), images)
    if moves is not None:
        moves = moves.to(device)
        padded = F.pad(images, (shift,) * 4)
        rows = repeat(moves[:, :1] + torch.arange(h, device=device), "n h -> n c h w", c=c, w=padded.shape[-1])
        columns = repeat(moves[:, 1:] + torch.arange(w, device=device), "n w -> n c h w", c=c, h=h)
        images = padded.gather(2, rows).gather(3, columns)
    return images


def _draw(n: int, *, shift: int, flip: bool, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
    """For n images: whether each is mirrored (N,), and its shift in pixels (N, 2) from 0 to 2 * shift."""
    mirrored = torch.rand(n, generator=generator) < 0.5 if flip else None
    return mirrored, torch.randint(0, 2 * shift + 1, (n, 2), generator=generator) if shift else None


@dataclass(frozen=True)
class Images:
    """One split: uint8 images (N, C, H, W), int64 labels (N,), and mean and deviation per channel (1, C, 1, 1)."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Images":
        """The split on `device`, except for images that are too large for it."""
        images = self.images.to(device) if self.images.nbytes <= ON_DEVICE_BYTES else self.images
        return Images(images, self.labels.to(device), self.mean.to(device), self.std.to(device))

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images as float32, zero mean and unit deviation per channel over the training split."""
        return (images.float() / 255 - self.mean) / self.std

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        shift: int = 0,
        flip: bool = False,
        share: tuple[int, int] = (0, 1),
        skip: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised float32 images (B, C, H, W) and labels (B,), batch by batch.

        Args:
            batch_size: images per batch over all processes; the last batch may be smaller.
            seed: shuffle and augment from (seed, epoch); None: neither.
            epoch: the epoch to draw.
            shift: see `augment`.
            flip: see `augment`.
            share: (rank, processes): every process draws the same batches and takes its part of each. A last training
                batch smaller than the number of processes is skipped by all of them.
            skip: number of batches to skip at the start; the others are not affected.
        """
        rank, processes = share
        if seed is None:
            order, draws = torch.arange(len(self)), None
        else:
            order = torch.randperm(len(self), generator=generator_for(seed, epoch, "order"))
            draws = generator_for(seed, epoch, "augmentation")
        for number, chosen in enumerate(order.split(batch_size)):
            if processes > 1 and draws is not None and len(chosen) < processes:
                return
            if number < skip:
                if draws is not None:
                    _draw(len(chosen), shift=shift, flip=flip, generator=draws)
                continue
            images = self.images[chosen.to(self.images.device)].to(self.labels.device)
            if draws is not None:
                images = augment(images, shift=shift, flip=flip, generator=draws)
            labels = self.labels[chosen.to(self.labels.device)]
            yield self.normalised(images[rank::processes]), labels[rank::processes]


@dataclass(frozen=True)
class Dataset:
    """A training split and one that accuracy is measured on, the test or validation images, at one resolution."""

    train: Images
    test: Images
    classes: tuple[str, ...]

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, c, h, w = self.train.images.shape
        return c, h, w

    def to(self, device: torch.device) -> "Dataset":
        """The dataset on `device`, except for images that are too large for it."""
        return Dataset(self.train.to(device), self.test.to(device), self.classes)


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


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _folder(config: DataConfig) -> Source:
    """Any tree train/CLASS/*, test/CLASS/* of image files, each decoded to the size that the variant first gives it."""
    expected = "expected ROOT/train/CLASS/* and ROOT/test/CLASS/* with image files"
    if config.root is None:
        raise DataError(f"data.root is null; {expected}")
    root = Path(config.root)
    if root.is_file():
        raise DataError(f"data.root is {config.root!r}: a file, not a folder; {expected}")
    if not root.is_dir():
        raise DataError(f"data.root is {config.root!r}: no such folder; {expected}")
    names: dict[str, list[str]] = {}
    files: dict[str, list[Path]] = {}
    labels: dict[str, list[int]] = {}
    for split in ("train", "test"):
        if not (root / split).is_dir():
            inside = sorted(p.name for p in root.iterdir() if p.is_dir())[:5]
            raise DataError(f"{root}: no folder {split}/ (found: {', '.join(inside) or 'no folders'}); {expected}")
        names[split] = sorted(p.name for p in (root / split).iterdir() if p.is_dir() and p.name[0] != ".")
        files[split], labels[split] = [], []
        for label, name in enumerate(names[split]):
            found = sorted(p for p in (root / split / name).rglob("*") if _is_image(p))
            if not found:
                raise DataError(f"{root / split / name}: no image files; {expected}")
            files[split] += found
            labels[split] += [label] * len(found)
    if len(names["train"]) < 2:
        classes = plural(len(names["train"]), "class folder")
        raise DataError(f"{root / 'train'}: {classes}, at least two are needed; {expected}")
    if names["train"] != names["test"]:
        only = [(a, sorted(set(names[a]) - set(names[b]))) for a, b in (("train", "test"), ("test", "train"))]
        listed = [f"only {split}/ has {', '.join(odd[:5])}{', ...' * (len(odd) > 5)}" for split, odd in only if odd]
        said = "; ".join(listed)
        raise DataError(f"{root}: train/ and test/ have different classes: {said}")
    channels = config.channels or 3
    side = config.detail or config.resolution

    def build() -> Arrays:
        stray = [path for split in ("train", "test") for path in (root / split).iterdir() if _is_image(path)]
        if stray:
            log.warning("%s: image files in no class folder are not used (%d, first: %s)", root, len(stray), min(stray))
        arrays: dict[str, np.ndarray] = {}
        for split in ("train", "test"):
            images = np.empty((len(files[split]), channels, side, side), dtype=np.uint8)

            def decode(i: int, images: np.ndarray = images, split: str = split) -> None:
                images[i] = decode_image(files[split][i], side, channels)

            with ThreadPoolExecutor() as pool:
                for _ in pool.map(decode, range(len(images))):
                    pass
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = np.asarray(labels[split], dtype=np.int64)
        return arrays

    try:
        mark = files_fingerprint(root, files["train"] + files["test"], f"{DECODING} {side} {channels}")
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    arrays = cached(cache_folder(config.cache), f"{root.resolve().name}-{side}-{mark[:12]}", mark, build)
    return Source(arrays, tuple(names["train"]))


SOURCES: Mapping[str, Callable[[DataConfig], Source]] = MappingProxyType(
    {"digits": _digits, "cifar10": _cifar, "cifar100": _cifar, "folder": _folder}
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
    mean, std = _moments(images["train"])
    train, test = (Images(images[split], labels[split], mean, std) for split in ("train", "test"))
    return Dataset(train, test, source.classes)


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
