"""The section `data` of a run's configuration: the dataset and its preparation."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from .errors import require

__all__ = ["OTHER_AXES", "SEGMENTED", "DataConfig", "Variant"]

EMBEDDED = frozenset({"digits", "digits-scene", "digits-motion", "pulses"})
"""Datasets that need no files."""

SEGMENTED = frozenset({"digits-scene", "mask-folder", "voc", "sbd"})
"""Datasets with a class for every pixel."""

OTHER_AXES: Mapping[str, int] = MappingProxyType({"digits-motion": 3, "pulses": 1})
"""The number of axes of datasets that are not of images."""

Variant = Literal["plain", "stretch", "tile", "large", "canvas"]


@dataclass(frozen=True)
class DataConfig:
    """The dataset and its preparation.

    Attributes:
        name: "digits" (scikit-learn's handwritten digits, embedded), "cifar10", "cifar100", "aircraft" (FGVC-Aircraft)
            or "folder" (any image tree). With a class for every pixel: "digits-scene" (several of these digits on a
            textured canvas, made when needed), "voc" and "sbd" (the folders of torchvision's VOCSegmentation and
            SBDataset) or "mask-folder" (any pairs of images and masks).
            Clips: "digits-motion" (one of these digits moving over a noisy canvas in one of four directions, at one of
            two speeds, which are the classes). Series: "pulses" (two pulses in noise; their widths and their distance
            are the class).
        variant: the papers' controlled variant: "plain", "stretch" (enlarged), "tile", "large" or "canvas".
        resolution: side of the square input image in pixels; also the frames of a clip and the length of a series.
        detail: side in pixels to which "large" reduces the image before enlarging it to the resolution, and "canvas"
            before placing it on a black canvas; null: half the resolution.
        channels: 1 or 3; null: those of the dataset.
        root: folder of the images: for CIFAR, aircraft, VOC and SBD torchvision's root, for the others the one with
            train/ and test/ or val/.
        download: let torchvision download CIFAR, aircraft, VOC or SBD if it is missing; otherwise nothing is
            downloaded.
        cache: folder of the decoded images; null: $XDG_CACHE_HOME/dynpool or ~/.cache/dynpool.
        stream: decode the files of "aircraft" and "folder" as they are needed, at their own size before a random crop,
            instead of keeping all images at the resolution, in memory or in the cache. `normalise` must be "imagenet".
            Files with masks are always decoded so.
        workers: processes that decode streamed images; null: one per CPU core.
        normalise: "data" (by mean and deviation of the training images) or "imagenet" (by those of ImageNet).
        margin: part of the shorter side of a file's image that the centre crop keeps, after it is scaled to
            resolution / margin; of streamed training images only those without a random crop.
        test_fraction: fraction of the digits used as test set, per class, also of those in scenes and in clips.
        validation: training images held out, class by class and the same for every seed, on which accuracy is measured
            instead of on the test images: a fraction of them, or a number of images; null: none.
        train_images: number of training images to use, chosen class by class and the same for every seed; null: all.
        shift: augmentation: images are shifted by up to this many pixels per axis and padded with black; below 1, by up
            to this fraction of the resolution, so that images of several resolutions are shifted alike.
        flip: augmentation: half of the images are mirrored left to right.
        crop: augmentation: random crops of at least this share of an image's area, resized; null: none.
        rand_augment: augmentation: magnitude, 0 to 30, of RandAugment's two operations an image; null: none.
        erase: augmentation: probability that a random rectangle of an image becomes black.
        scale: augmentation of images with masks: [lowest, highest] random factor by which both are scaled, from that at
            which the longer side is the resolution, before they are cropped to the resolution at a random place, or
            padded with pixels that do not count; null: none.
        test: how files with masks are tested: "whole" (as one image whose longer side is the resolution) or "sliding"
            (at their own size, by windows of the resolution that overlap).
    """

    name: Literal[
        "digits", "cifar10", "cifar100", "aircraft", "folder", "digits-scene", "mask-folder", "voc", "sbd",
        "digits-motion", "pulses",
    ] = "digits"  # fmt: skip
    variant: Variant = "plain"
    resolution: int = 32
    detail: int | None = None
    channels: int | None = None
    root: str | None = None
    download: bool = False
    cache: str | None = None
    stream: bool = False
    workers: int | None = None
    normalise: Literal["data", "imagenet"] = "data"
    margin: float = 1.0
    test_fraction: float = 0.25
    validation: float | None = None
    train_images: int | None = None
    shift: float = 0
    flip: bool = False
    crop: float | None = None
    rand_augment: int | None = None
    erase: float = 0.0
    scale: tuple[float, float] | None = None
    test: Literal["whole", "sliding"] = "whole"

    def __post_init__(self) -> None:
        require("data.resolution", self.resolution, 4 <= self.resolution <= 4096, "a whole number from 4 to 4096")
        require("data.channels", self.channels, self.channels in (None, 1, 3), "null, 1 or 3")
        require("data.test_fraction", self.test_fraction, 0 < self.test_fraction < 1, "a number between 0 and 1")
        held = self.validation
        fits = held is None or 0 < held < 1 or (1 <= held < math.inf and held == int(held))
        require("data.validation", held, fits, "null, a fraction between 0 and 1, or a whole number of images")
        require(
            "data.train_images", self.train_images, (self.train_images or 1) >= 1, "null, or a whole number above 0"
        )
        shift = self.shift
        fits = 0 <= shift < 1 or (shift < self.resolution and shift == int(shift) >= 1)
        require("data.shift", shift, fits, "a fraction below 1, or a whole number of pixels below the resolution")
        self._check_variant()
        self._check_files()
        require("data.crop", self.crop, self.crop is None or 0 < self.crop <= 1, "null, or a number above 0, up to 1")
        magnitude = self.rand_augment
        require("data.rand_augment", magnitude, magnitude is None or 0 <= magnitude <= 30, "null, or 0 to 30")
        require("data.erase", self.erase, 0 <= self.erase <= 1, "a number from 0 to 1")
        self._check_masks()
        self._check_axes()
        if self.name in EMBEDDED:
            self._check_unset(root=None, download=False)
        if self.name == "pulses":
            self._check_unset(test_fraction=type(self).test_fraction)

    def _check_unset(self, **defaults: object) -> None:
        """Refuse other values than these of keys that mean nothing for the dataset."""
        for key, value in defaults.items():
            shown, given = json.dumps(value).strip('"'), getattr(self, key)
            require(f"data.{key}", given, given == value, f"{shown}, as data.name is {self.name}")

    def _check_axes(self) -> None:
        if self.name not in OTHER_AXES:
            return
        self._check_unset(
            variant="plain", channels=None, normalise="data", flip=False, crop=None, rand_augment=None, erase=0
        )
        least, most = {"digits-motion": (12, 64), "pulses": (64, 4096)}[self.name]
        allowed = f"{least} to {most}, as data.name is {self.name}"
        require("data.resolution", self.resolution, least <= self.resolution <= most, allowed)

    def _check_masks(self) -> None:
        low, high = self.scale or (1.0, 1.0)
        require("data.scale", self.scale, 0 < low <= high < math.inf, "null, or two finite numbers above 0, rising")
        if self.name not in SEGMENTED:
            names = ", ".join(sorted(SEGMENTED))
            require("data.scale", self.scale, self.scale is None, f"null, unless data.name is one of {names}")
            require("data.test", self.test, self.test == "whole", "whole, unless data.name is mask-folder, voc or sbd")
            return
        self._check_unset(variant="plain", shift=0, crop=None, rand_augment=None, erase=0)
        if self.name == "digits-scene":
            require("data.test", self.test, self.test == "whole", "whole, as data.name is digits-scene")
            require(
                "data.resolution", self.resolution, self.resolution >= 32, "32 or more, as data.name is digits-scene"
            )
        else:
            require("data.stream", self.stream, self.stream, f"true, as data.name is {self.name}")

    def _check_files(self) -> None:
        files = self.name in ("aircraft", "folder")
        masked = self.name in SEGMENTED - {"digits-scene"}
        whole = (files or masked) and self.variant == "plain" and self.normalise == "imagenet"
        named = "aircraft, folder, mask-folder, voc or sbd"
        allowed = f"false, unless data.name is {named}, data.variant plain and data.normalise imagenet"
        require("data.stream", self.stream, whole or not self.stream, allowed)
        require("data.workers", self.workers, self.workers is None or 0 <= self.workers <= 1024, "null, or 0 to 1024")
        require("data.margin", self.margin, 0 < self.margin <= 1, "a number above 0, up to 1")
        require("data.margin", self.margin, files or self.margin == 1, "1, unless data.name is aircraft or folder")

    def _check_variant(self) -> None:
        halves = self.variant in ("large", "canvas")
        multiple = 4 if self.variant == "tile" else 2 if halves and self.detail is None else 1
        require(
            "data.resolution", self.resolution, self.resolution % multiple == 0,
            f"a multiple of {multiple} for the variant {self.variant!r}",
        )  # fmt: skip
        detail = self.detail
        require("data.detail", detail, detail is None or halves, f"null for the variant {self.variant!r}")
        fits = detail is None or 1 <= detail <= self.resolution
        require("data.detail", detail, fits, "null, or a whole number from 1 to the resolution")

    @property
    def shift_pixels(self) -> int:
        """The largest shift in pixels."""
        return int(self.shift) if self.shift >= 1 else round(self.shift * self.resolution)

    @property
    def axes(self) -> int:
        """The number of axes along which layers slide: 2 of images, 3 of clips, 1 of series."""
        return OTHER_AXES.get(self.name, 2)

    @property
    def task(self) -> str:
        """The task that the dataset is for: "classification", or "segmentation" if every pixel has a class."""
        return "segmentation" if self.name in SEGMENTED else "classification"
