"""The files of images and masks of a dataset: PASCAL VOC, SBD, or any pairs of folders."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from dynpool.common.extras import optional

from .data_config import DataConfig
from .errors import DataError
from .image_files import IMAGE_SUFFIXES
from .images import DAMAGE
from .segmentation import IGNORED

__all__ = ["MASKED_LISTINGS", "VOC_CLASSES", "MaskPairs", "read_mask"]

log = logging.getLogger(__name__)

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
EXPECTED = (
    "expected ROOT/classes.txt, a name of a class in each line, and ROOT/train/images/*, ROOT/train/masks/*.png,"
    " ROOT/test/images/* and ROOT/test/masks/*.png (or val/ for test/)"
)


@dataclass(frozen=True)
class MaskPairs:
    """The classes, and the (image, mask) files of the splits "train" and "test"."""

    classes: tuple[str, ...]
    pairs: Mapping[str, tuple[tuple[Path, Path], ...]]


def read_mask(path: Path, classes: int) -> npt.NDArray[np.uint8]:
    """The classes of pixels, (H, W): of a grey or palette image whose values they are, or of SBD's .mat files.

    Raises:
        DataError: if it cannot be decoded, or has a class that there is not; `IGNORED` is always one.
    """
    try:
        if path.suffix == ".mat":
            with optional():
                from scipy.io import loadmat
            values = np.asarray(loadmat(str(path))["GTcls"][0]["Segmentation"][0])
        else:
            with Image.open(path) as image:
                if image.mode not in ("L", "P", "1"):
                    raise ValueError(f"a mask of mode {image.mode}; allowed: grey or palette of 8 bits")
                values = np.array(image)
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be decoded: {error or type(error).__name__}") from error
    wrong = np.unique(values[(values >= classes) & (values != IGNORED)])
    if len(wrong):
        raise DataError(f"{path}: pixels of class {wrong[0]}; allowed: 0 to {classes - 1}, and {IGNORED}: do not count")
    return values.astype(np.uint8)


def _root(config: DataConfig, folder: str, expected: str) -> Path:
    """The folder in `data.root`, which must be there."""
    if config.root is None:
        raise DataError(f"data.root is null; {expected}")
    path = Path(config.root) / folder
    if not path.is_dir():
        raise DataError(f"data.root is {config.root!r}: no folder {path}; {expected}")
    return path


def _folder_pairs(config: DataConfig) -> MaskPairs:
    """Those of two folders a split, in which an image and its mask have the same name but for the ending.

    Raises:
        DataError: if there is no such tree; the message names the folder or file.
    """
    root = _root(config, "", EXPECTED)
    classes = tuple(_lines(root / "classes.txt", EXPECTED))
    if not 1 < len(classes) <= IGNORED:
        raise DataError(f"{root / 'classes.txt'}: {len(classes)} classes; allowed: 2 to {IGNORED}")
    folders = {"train": root / "train", "test": root / "test"}
    if not folders["test"].is_dir() and (root / "val").is_dir():
        folders["test"] = root / "val"
    pairs = {}
    for split, folder in folders.items():
        if not (folder / "images").is_dir():
            raise DataError(f"{folder / 'images'}: no such folder; {EXPECTED}")
        images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        stems = [path.stem for path in images]
        if twice := next((stem for stem, count in Counter(stems).items() if count > 1), None):
            raise DataError(f"{folder / 'images'}: two images of the name {twice}, but one mask: {twice}.png")
        pairs[split] = _paired(images, [folder / "masks" / f"{stem}.png" for stem in stems], folder)
        alone = sorted({path.stem for path in (folder / "masks").glob("*.png")} - set(stems))
        if alone:
            named = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
            log.warning("%s: %d masks without an image are left out: %s", folder / "masks", len(alone), named)
    return MaskPairs(classes, pairs)


def _voc_pairs(config: DataConfig) -> MaskPairs:
    """Those of PASCAL VOC 2012, as torchvision unpacks it: 1,464 training images, 1,449 validation images as test."""
    _download(config, "VOCSegmentation", image_set="train")
    folder = _root(config, "VOCdevkit/VOC2012", "unpack VOC 2012 there, or download it with --data.download true")

    def pairs(name: str) -> tuple[tuple[Path, Path], ...]:
        listing = folder / "ImageSets" / "Segmentation" / f"{name}.txt"
        names = _lines(listing, "it is part of VOC 2012")
        images = [folder / "JPEGImages" / f"{line}.jpg" for line in names]
        return _paired(images, [folder / "SegmentationClass" / f"{line}.png" for line in names], listing)

    return MaskPairs(VOC_CLASSES, {"train": pairs("train"), "test": pairs("val")})


def _sbd_pairs(config: DataConfig) -> MaskPairs:
    """Those of the Semantic Boundaries Dataset, as torchvision unpacks it: 8,498 training and 2,857 validation images.

    Its validation images are the test images.
    """
    _download(config, "SBDataset", mode="segmentation")
    folder = _root(config, "", "unpack SBD there (img/, cls/, train.txt, val.txt), or download it with --data.download")

    def pairs(name: str) -> tuple[tuple[Path, Path], ...]:
        names = _lines(folder / f"{name}.txt", "it is part of SBD")
        images = [folder / "img" / f"{line}.jpg" for line in names]
        return _paired(images, [folder / "cls" / f"{line}.mat" for line in names], folder / f"{name}.txt")

    return MaskPairs(VOC_CLASSES, {"train": pairs("train"), "test": pairs("val")})


MASKED_LISTINGS: Mapping[str, Callable[[DataConfig], MaskPairs]] = MappingProxyType(
    {"mask-folder": _folder_pairs, "voc": _voc_pairs, "sbd": _sbd_pairs}
)


def _download(config: DataConfig, kind: str, **options: str) -> None:
    if config.download and config.root is not None:
        with optional():
            from torchvision import datasets
        getattr(datasets, kind)(config.root, download=True, **options)


def _paired(images: Sequence[Path], masks: Sequence[Path], where: Path) -> tuple[tuple[Path, Path], ...]:
    """The pairs, all of which must be there."""
    pairs = tuple(zip(images, masks, strict=True))
    missing = next((path for pair in pairs for path in pair if not path.is_file()), None)
    if missing is not None:
        raise DataError(f"{missing}: no such file, but its image or a listing names it ({where})")
    if not pairs:
        raise DataError(f"{where}: no images")
    return pairs


def _lines(path: Path, expected: str) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {said}; {expected}") from None
