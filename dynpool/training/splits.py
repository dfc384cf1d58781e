"""The images of a split, batch by batch: held in memory as uint8, or decoded from their files as they are needed."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from dynpool.common.cores import usable_cores

from .augmentation import Augmentation, Draws
from .errors import DataError
from .images import decode_image, open_image
from .seeding import generator_for

__all__ = ["Batch", "Dataset", "Images", "Split", "StreamedImages", "decoded_batches"]

GRACE = 20  # seconds that a worker goes on after SIGTERM
ON_DEVICE_BYTES = 2**31  # a split up to this size is kept on the device

Batch = tuple[Tensor, Draws | None]  # the numbers of its images, and what was drawn for them


@dataclass(frozen=True)
class Split(ABC):
    """One split: labels (N,) of int64 or uint8 masks (N, H, W); mean and deviation per channel (1, C, 1, 1) in 0..1.

    Images are clips (C, D, H, W) or sequences (C, L) in data of three axes or one, and so are their statistics.
    """

    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image, (C, D, H, W) of every clip or (C, L) of every series."""

    def to(self, device: torch.device) -> Self:
        """The split on `device`, except for images that are too large for it."""
        return replace(self, labels=self.labels.to(device), mean=self.mean.to(device), std=self.std.to(device))

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images as float32, zero mean and unit deviation per channel over the training split."""
        return (images.float() / 255 - self.mean) / self.std

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        augmentation: Augmentation | None = None,
        share: tuple[int, int] = (0, 1),
        skip: int = 0,
    ) -> Generator[tuple[Tensor, Tensor]]:
        """Normalised float32 images (B, C, H, W) and labels (B,) or masks (B, H, W), batch by batch.

        Args:
            batch_size: images per batch over all processes; the last batch may be smaller.
            seed: shuffle and augment from (seed, epoch); None: neither.
            epoch: the epoch to draw.
            augmentation: how images are changed; None: not at all.
            share: (rank, processes): every process draws the same batches and takes its part of each. A last training
                batch smaller than the number of processes is skipped by all of them.
            skip: number of batches to skip at the start; the others are not affected.
        """
        rank, processes = share
        if seed is None:
            order, draws, augmentation = torch.arange(len(self)), None, None
        else:
            order = torch.randperm(len(self), generator=generator_for(seed, epoch, "order"))
            draws = generator_for(seed, epoch, "augmentation")
        batches: list[Batch] = []
        for chosen in order.split(batch_size):
            if processes > 1 and draws is not None and len(chosen) < processes:
                break
            drawn = None if augmentation is None or draws is None else augmentation.draw(len(chosen), draws)
            batches.append((chosen[rank::processes], drawn and drawn.part(rank, processes)))
        batches = batches[skip:]
        key = (seed or 0, epoch)
        device = self.labels.device
        for (_, drawn), (images, labels) in zip(batches, self._pairs(batches, augmentation, key), strict=True):
            images = images.to(device, non_blocking=True)
            if augmentation is not None and drawn is not None:
                images = augmentation.moved(images, drawn)
            yield self.normalised(images), labels.to(device, non_blocking=True)

    @abstractmethod
    def _pairs(
        self, batches: Sequence[Batch], augmentation: Augmentation | None, key: tuple[int, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The uint8 images of each batch and their labels, changed one by one if the augmentation does."""


AnySplit = TypeVar("AnySplit", bound=Split)


@dataclass(frozen=True)
class Images(Split):
    """A split in memory: uint8 images (N, C, H, W), clips (N, C, D, H, W) or sequences (N, C, L)."""

    images: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image, (C, D, H, W) of every clip or (C, L) of every series."""
        return tuple(self.images.shape[1:])

    def to(self, device: torch.device) -> Self:
        """The split on `device`, except for images that are too large for it."""
        images = self.images.to(device) if self.images.nbytes <= ON_DEVICE_BYTES else self.images
        return replace(super().to(device), images=images)

    def _pairs(
        self, batches: Sequence[Batch], augmentation: Augmentation | None, key: tuple[int, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen, _ in batches:
            images, labels = self.images[chosen.to(self.images.device)], self.labels[chosen.to(self.labels.device)]
            if augmentation is not None and augmentation.each is not None and len(images):
                numbered = zip(images.cpu(), chosen.tolist(), strict=True)
                images = torch.stack([augmentation.one(image, *key, number) for image, number in numbered])
            elif augmentation is not None and augmentation.masks and len(images):
                numbered_pairs = zip(images.cpu(), labels.cpu(), chosen.tolist(), strict=True)
                changed = [augmentation.pair(image, mask, *key, number) for image, mask, number in numbered_pairs]
                images, labels = (torch.stack(part) for part in zip(*changed, strict=True))
            yield images, labels


@dataclass(frozen=True)
class StreamedImages(Split):
    """A split whose images are decoded from their files as they are needed, by processes of their own.

    Attributes:
        files: of the images.
        side: height and width of the images in pixels.
        channels: 3 for colour, 1 for grey.
        workers: number of processes; None: one per CPU core.
        margin: part of the shorter side that the centre crop of an image that is not augmented keeps.
    """

    files: tuple[Path, ...]
    side: int
    channels: int
    workers: int | None
    margin: float

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image."""
        return self.channels, self.side, self.side

    def _pairs(
        self, batches: Sequence[Batch], augmentation: Augmentation | None, key: tuple[int, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        files = _Files(self.files, self.side, self.channels, self.margin, augmentation, key)
        decoded = decoded_batches(files, batches, self.workers, files.collate, pinned=self.labels.is_cuda)
        for (chosen, _), images in zip(batches, decoded, strict=True):
            yield images, self.labels[chosen.to(self.labels.device)]


def decoded_batches(
    files: TorchDataset,
    batches: Sequence[Batch],
    workers: int | None,
    collate: Callable[[Any], Any],
    *,
    pinned: bool,
) -> Iterator[Any]:
    """The batches of files, decoded by processes of their own.

    Args:
        files: gives what is decoded of a file, by number, or the error in its place.
        batches: the numbers of each batch.
        workers: number of processes; None: one per CPU core.
        collate: makes a batch of what was decoded, or returns its first error.
        pinned: whether to pin the memory of tensors, for the way to a GPU.

    Raises:
        DataError: of a file that cannot be decoded.
    """
    count = usable_cores() if workers is None else workers
    loader = DataLoader(
        files,
        batch_sampler=[chosen.tolist() for chosen, _ in batches],
        num_workers=min(count, len(batches)),
        collate_fn=collate,
        worker_init_fn=_leave_signals_to_the_run,
        pin_memory=pinned,
        generator=torch.Generator(),  # so that PyTorch's own is not drawn from
    )
    for found in loader:
        if isinstance(found, DataError):
            raise found
        yield found


@dataclass(frozen=True)
class _Files(TorchDataset):
    """The images of files by number; in place of one that cannot be decoded, the error. Worker processes have it."""

    files: tuple[Path, ...]
    side: int
    channels: int
    margin: float
    augmentation: Augmentation | None
    key: tuple[int, int]

    def __getitem__(self, number: int) -> Tensor | DataError:
        path, augmentation = self.files[number], self.augmentation
        try:
            if augmentation is not None and augmentation.crop is not None:  # of the image at its own size
                return augmentation.one(open_image(path, self.channels), *self.key, number)
            pixels = torch.tensor(decode_image(path, self.side, self.channels, margin=self.margin))
            if augmentation is not None and augmentation.each is not None:
                return augmentation.one(pixels, *self.key, number)
        except DataError as error:
            return error
        return pixels

    def collate(self, images: Sequence[Tensor | DataError]) -> Tensor | DataError:
        """A batch; it is empty if it is the part of a process of fewer images than processes."""
        error = next((image for image in images if isinstance(image, DataError)), None)
        if error is not None or not images:
            return error or torch.empty((0, self.channels, self.side, self.side), dtype=torch.uint8)
        return torch.stack([image for image in images if isinstance(image, Tensor)])


def _leave_signals_to_the_run(worker: int) -> None:
    """Let the main process decide how a signal ends a run, and end soon after SIGTERM all the same.

    A cluster sends SIGTERM to all processes of a run, whose main one still finishes and saves its step. But Python also
    sends it to processes that are left when it exits, for which it then waits.
    """
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))  # which ends the process
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Dataset(Generic[AnySplit]):
    """A training split and one that accuracy is measured on, the test or validation images, at one resolution."""

    train: AnySplit
    test: AnySplit
    classes: tuple[str, ...]

    @property
    def input_size(self) -> tuple[int, ...]:
        """(C, H, W) of every image, (C, D, H, W) of every clip or (C, L) of every series."""
        return self.train.shape

    def to(self, device: torch.device) -> "Dataset[AnySplit]":
        """The dataset on `device`, except for images that are too large for it."""
        return Dataset(self.train.to(device), self.test.to(device), self.classes)
