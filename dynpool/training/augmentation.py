"""Augmentation of training images: drawn from (seed, epoch) alone, so that a resumed run sees the same images.

Crops, RandAugment and erasing are drawn image by image, from the image's number; shifts and mirroring batch by batch.
Images with masks are scaled, cropped and mirrored with them, image by image.
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

from .data_config import DataConfig
from .seeding import generator_for
from .segmentation import IGNORED

__all__ = ["Augmentation", "Draws", "scaled_pair"]

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
        shift: largest shift in pixels along the last two axes; the border is padded with black.
        flip: mirror each image left to right with probability 1/2.
        side: of the images in pixels.
        crop: smallest share of an image's area that a random crop takes, of an aspect ratio from 3/4 to 4/3, before it
            is resized (Szegedy et al., 2015); None: no crops.
        rand_augment: magnitude from 0 to 30 of two random operations on each image (Cubuk et al., 2020); None: none.
        erase: probability that a rectangle of an image becomes black (Zhong et al., 2020).
        masks: whether images have masks, which are changed with them: see `pair`.
        scale: (lowest, highest) random factor of the size of an image and its mask; None: none.
    """

    shift: int = 0
    flip: bool = False
    side: int = 32
    crop: float | None = None
    rand_augment: int | None = None
    erase: float = 0.0
    masks: bool = False
    scale: tuple[float, float] | None = None

    @classmethod
    def of(cls, config: DataConfig) -> "Augmentation":
        """The augmentation of a configuration."""
        masks = config.task == "segmentation"
        return cls(
            config.shift_pixels, config.flip, config.resolution, config.crop, config.rand_augment, config.erase, masks,
            config.scale,
        )  # fmt: skip

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

    @cached_property
    def _together(self) -> Callable[[Any, Any], Any]:
        """What is done to a scaled image and its mask."""
        with optional():
            from torchvision import tv_tensors
            from torchvision.transforms import v2
        side = (self.side, self.side)
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORED}
        steps = [v2.RandomCrop(side, pad_if_needed=True, fill=fill), *[v2.RandomHorizontalFlip()] * self.flip]
        whole: Callable[[Any, Any], Any] = v2.Compose(steps)
        return lambda image, mask: whole(tv_tensors.Image(image), tv_tensors.Mask(mask))

    def pair(self, image: Tensor, mask: Tensor, *key: int) -> tuple[Tensor, Tensor]:
        """An image and its mask changed as drawn from the key: uint8 (C, side, side) and (side, side).

        They are scaled, cropped and mirrored. Where the image is smaller than the crop, it is padded with black, whose
        pixels have the class `IGNORED`.

        Args:
            image: uint8 (C, H, W).
            mask: uint8 (H, W).
            key: (seed, epoch, number of the image).
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_for(*key, "image").initial_seed())
            low, high = self.scale or (1.0, 1.0)
            factor = low + (high - low) * float(torch.rand(()))
            changed, classes = self._together(*scaled_pair(image, mask, round(self.side * factor)))
        return changed.as_subclass(Tensor), classes.as_subclass(Tensor)

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """The shifts and mirrorings of n images."""
        mirrored = torch.rand(n, generator=generator) < 0.5 if self.flip and not self.masks else None
        moves = torch.randint(0, 2 * self.shift + 1, (n, 2), generator=generator) if self.shift else None
        return Draws(mirrored, moves)

    def moved(self, images: Tensor, draws: Draws) -> Tensor:
        """The images (N, C, H, W), of any dtype, shifted and mirrored as drawn; same shape, dtype and device.

        All frames of a clip (N, C, D, H, W) are alike; a sequence (N, C, L) is shifted along its one axis.
        """
        shape, device, shift = images.shape, images.device, self.shift
        images = images.flatten(1, -3) if len(shape) > 3 else images[:, :, None]
        c, h, w = images.shape[1:]
        if draws.mirrored is not None:
            images = torch.where(rearrange(draws.mirrored.to(device), "n -> n 1 1 1"), images.flip(-1), images)
        if draws.moves is not None:
            moves = draws.moves.to(device)
            if len(shape) > 3:
                images = F.pad(images, (0, 0, shift, shift))
                rows = repeat(moves[:, :1] + torch.arange(h, device=device), "n h -> n c h w", c=c, w=w)
                images = images.gather(2, rows)
            images = F.pad(images, (shift, shift))
            columns = repeat(moves[:, 1:] + torch.arange(w, device=device), "n w -> n c h w", c=c, h=h)
            images = images.gather(3, columns)
        return images.view(shape)


def scaled_pair(image: Tensor, mask: Tensor, longer: int) -> tuple[Tensor, Tensor]:
    """An image and its mask at the size at which the longer side is so many pixels.

    Args:
        image: uint8 (C, H, W), interpolated bilinearly, antialiased.
        mask: uint8 (H, W), of which the pixel nearest to the centre of each is taken.
        longer: pixels, 1 or more.
    """
    size = [max(round(n * longer / max(image.shape[-2:])), 1) for n in image.shape[-2:]]
    if size == list(image.shape[-2:]):
        return image, mask
    scaled = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)
    classes = F.interpolate(mask[None, None], size, mode="nearest-exact")
    return scaled[0].round_().clamp_(0, 255).to(torch.uint8), classes[0, 0]
