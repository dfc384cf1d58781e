"""Augmentation of training images: drawn from (seed, epoch) alone, so that a resumed run sees the same images.

Crops, RandAugment and erasing are drawn image by image, from the image's number; shifts and mirroring batch by batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from dynpool.common.extras import optional

from .config_sections import DataConfig
from .seeding import generator_for

__all__ = ["Augmentation", "Draws"]

OPERATIONS = 2  # of RandAugment, for each image


@dataclass(frozen=True)
class Draws:
    """What was drawn for the images of a batch: whether each is mirrored (N,), and its shift (N, 2) from 0 on."""

    mirrored: Tensor | None
    moves: Tensor | None

    def part(self, rank: int, processes: int) -> "Draws":
        """The draws for every image of a process."""
        return Draws(*(None if x is None else x[rank::processes] for x in (self.mirrored, self.moves)))


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed at random.

    Attributes:
        shift: largest shift in pixels along each axis; the border is padded with black.
        flip: mirror each image left to right with probability 1/2.
        side: of the images in pixels.
        crop: smallest share of an image's area that a random crop takes, of an aspect ratio from 3/4 to 4/3, before it
            is resized (Szegedy et al., 2015); None: no crops.
        rand_augment: magnitude from 0 to 30 of two random operations on each image (Cubuk et al., 2020); None: none.
        erase: probability that a rectangle of an image becomes black (Zhong et al., 2020).
    """

    shift: int = 0
    flip: bool = False
    side: int = 32
    crop: float | None = None
    rand_augment: int | None = None
    erase: float = 0.0

    @classmethod
    def of(cls, config: DataConfig) -> "Augmentation":
        """The augmentation of a configuration."""
        return cls(config.shift_pixels, config.flip, config.resolution, config.crop, config.rand_augment, config.erase)

    @cached_property
    def each(self) -> Callable[[Any], Any] | None:
        """What is done image by image, to a PIL image or a tensor (C, H, W) of uint8; None: nothing."""
        if self.crop is None and self.rand_augment is None and not self.erase:
            return None
        steps: list[Callable[[Any], Any]] = []
        with optional():
            from torchvision.transforms import v2
        if self.crop is not None:
            steps.append(v2.RandomResizedCrop(self.side, scale=(self.crop, 1.0), antialias=True))
        if self.rand_augment is not None:
            steps.append(v2.RandAugment(OPERATIONS, self.rand_augment))
        steps.append(v2.PILToTensor())
        if self.erase:
            steps.append(v2.RandomErasing(self.erase))
        whole: Callable[[Any], Any] = v2.Compose(steps)
        return whole

    def one(self, image: Any, *key: int) -> Tensor:
        """An image changed as drawn from the key: uint8 (C, side, side).

        Args:
            image: a PIL image, or a tensor (C, H, W) of uint8.
            key: (seed, epoch, number of the image).
        """
        if self.each is None:
            raise ValueError("this augmentation changes no image by itself")
        with torch.random.fork_rng(devices=[]):  # torchvision draws from PyTorch's own generator
            torch.manual_seed(generator_for(*key, "image").initial_seed())
            found: Tensor = self.each(image)
        return found

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """The shifts and mirrorings of n images."""
        mirrored = torch.rand(n, generator=generator) < 0.5 if self.flip else None
        moves = torch.randint(0, 2 * self.shift + 1, (n, 2), generator=generator) if self.shift else None
        return Draws(mirrored, moves)

    def moved(self, images: Tensor, draws: Draws) -> Tensor:
        """The images (N, C, H, W), of any dtype, shifted and mirrored as drawn; same shape, dtype and device."""
        c, h, w = images.shape[1:]
        device, shift = images.device, self.shift
        if draws.mirrored is not None:
            images = torch.where(rearrange(draws.mirrored.to(device), "n -> n 1 1 1"), images.flip(-1), images)
        if draws.moves is not None:
            moves = draws.moves.to(device)
            padded = F.pad(images, (shift,) * 4)
            rows = repeat(moves[:, :1] + torch.arange(h, device=device), "n h -> n c h w", c=c, w=padded.shape[-1])
            columns = repeat(moves[:, 1:] + torch.arange(w, device=device), "n w -> n c h w", c=c, h=h)
            images = padded.gather(2, rows).gather(3, columns)
        return images
