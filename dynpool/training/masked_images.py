"""Files of images and masks, decoded as they are needed, at one size or, for sliding windows, at their own."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from .augmentation import Augmentation, scaled_pair
from .errors import DataError
from .images import open_image
from .mask_files import read_mask
from .segmentation import IGNORED
from .splits import Batch, Split, decoded_batches

__all__ = ["MaskedFiles", "fitted"]

Pair = tuple[Tensor, Tensor]


def fitted(image: Tensor, mask: Tensor, side: int) -> Pair:
    """An image and its mask scaled until the longer side is `side`, then padded to a square at the bottom or right.

    Padded pixels are black and have the class `IGNORED`.

    Args:
        image: uint8 (C, H, W).
        mask: uint8 (H, W).
        side: in pixels.
    """
    return _padded(*scaled_pair(image, mask, side), side)


def _padded(image: Tensor, mask: Tensor, side: int) -> Pair:
    """An image and its mask, each side at least as large as `side`."""
    height, width = (max(side - n, 0) for n in image.shape[-2:])
    return F.pad(image, (0, width, 0, height)), F.pad(mask, (0, width, 0, height), value=IGNORED)


@dataclass(frozen=True)
class MaskedFiles(Split):
    """A split of files of images and masks; `labels` are the numbers of the images.

    Attributes:
        files: (image, mask) of each.
        side: height and width of the images in pixels.
        channels: 3 for colour, 1 for grey.
        workers: number of processes that decode; None: one per CPU core.
        classes: number of classes.
        own_size: whether batches in order are of one image at its own size, at least `side` each way.
    """

    files: tuple[tuple[Path, Path], ...]
    side: int
    channels: int
    workers: int | None
    classes: int
    own_size: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image that is not at its own size."""
        return self.channels, self.side, self.side

    def batches(
        self, batch_size: int, *, seed: int | None = None, share: tuple[int, int] = (0, 1), **options: Any
    ) -> Generator[tuple[Tensor, Tensor]]:
        """Normalised images and masks; see `Split.batches`. Only in order (no `seed`) are they at their own size."""
        if self.own_size and seed is not None:
            return replace(self, own_size=False).batches(batch_size, seed=seed, share=share, **options)
        return super().batches(share[1] if self.own_size else batch_size, seed=seed, share=share, **options)

    def _pairs(
        self, batches: Sequence[Batch], augmentation: Augmentation | None, key: tuple[int, int]
    ) -> Iterator[Pair]:
        files = _Pairs(self.files, self.side, self.channels, self.classes, augmentation, key, self.own_size)
        return decoded_batches(files, batches, self.workers, files.collate, pinned=self.labels.is_cuda)


@dataclass(frozen=True)
class _Pairs(TorchDataset):
    """Images and masks by number; in place of a pair that cannot be decoded, the error. Worker processes have it."""

    files: tuple[tuple[Path, Path], ...]
    side: int
    channels: int
    classes: int
    augmentation: Augmentation | None
    key: tuple[int, int]
    own_size: bool

    def __getitem__(self, number: int) -> Pair | DataError:
        try:
            image, mask = self._decoded(*self.files[number])
        except DataError as error:
            return error
        if self.augmentation is not None:
            return self.augmentation.pair(image, mask, *self.key, number)
        return _padded(image, mask, self.side) if self.own_size else fitted(image, mask, self.side)

    def _decoded(self, image_file: Path, mask_file: Path) -> Pair:
        pixels = np.array(open_image(image_file, self.channels))
        image = torch.from_numpy(rearrange(pixels, "h w c -> c h w") if pixels.ndim == 3 else pixels[None])
        mask = torch.from_numpy(read_mask(mask_file, self.classes))
        if image.shape[-2:] != mask.shape:
            sizes = ["x".join(map(str, part)) for part in (mask.shape, image.shape[-2:])]
            raise DataError(f"{mask_file}: a mask of {sizes[0]} pixels for an image of {sizes[1]}: {image_file}")
        return image.contiguous(), mask

    def collate(self, pairs: Sequence[Pair | DataError]) -> Pair | DataError:
        """A batch; it is empty if it is the part of a process of fewer images than processes."""
        good = [pair for pair in pairs if not isinstance(pair, DataError)]
        if len(good) < len(pairs):
            return next(pair for pair in pairs if isinstance(pair, DataError))
        if not good:
            sides = (0, self.side, self.side)
            return torch.empty(0, self.channels, *sides[1:], dtype=torch.uint8), torch.empty(sides, dtype=torch.uint8)
        images, masks = zip(*good, strict=True)
        return torch.stack(images), torch.stack(masks)
