"""The papers' controlled variants of a dataset: the same objects at another size, shape or position.

Each function takes uint8 images of any size and returns uint8 images of `side` x `side` pixels. They follow the
controlled experiments of Jang et al. (CVPR 2022, on CIFAR-100) and the canvas of Richter et al. (small objects on
black; large images without more detail). Only the size of the object relative to the image changes, so the required
receptive field is known. `detail` is the side in pixels at which "large" and "canvas" first render the image; None
means half of `side`, and the other variants do not use it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

__all__ = ["VARIANTS", "canvas", "large", "plain", "resize", "stretch", "tile"]


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Images (N, C, H, W) uint8 at another size: bilinear, antialiased when made smaller, rounded to uint8."""
    if images.shape[-2:] == (height, width):
        return images
    parts = [
        F.interpolate(part.float(), (height, width), mode="bilinear", align_corners=False, antialias=True)
        for part in images.split(1024)
    ]
    return torch.cat(parts).round_().clamp_(0, 255).to(torch.uint8)


def plain(images: Tensor, side: int, generator: torch.Generator, detail: int | None = None) -> Tensor:
    """The image itself, resized to side x side pixels."""
    return resize(images, side, side)


def stretch(images: Tensor, side: int, generator: torch.Generator, detail: int | None = None) -> Tensor:
    """The image at twice the height, cropped to side x side at a random height, drawn once per image."""
    tall = resize(images, 2 * side, side)
    top = torch.randint(0, side + 1, (len(images), 1), generator=generator)
    rows = repeat(top + torch.arange(side), "n h -> n c h w", c=images.shape[1], w=side)
    return tall.gather(2, rows)


def tile(images: Tensor, side: int, generator: torch.Generator, detail: int | None = None) -> Tensor:
    """The image at half its resolution, repeated 4 x 4 times and resized to side x side.

    For the 8 x 8 digits each copy has 4 x 4 pixels of detail, enlarged to side/4; for CIFAR at side 64 it has 16 x 16.
    """
    halved = resize(images, max(images.shape[-2] // 2, 1), max(images.shape[-1] // 2, 1))
    return resize(halved, side // 4, side // 4).repeat(1, 1, 4, 4)


def large(images: Tensor, side: int, generator: torch.Generator, detail: int | None = None) -> Tensor:
    """The image resized to detail x detail, then to side x side pixels: larger without more detail."""
    small = detail or side // 2
    return resize(resize(images, small, small), side, side)


def canvas(images: Tensor, side: int, generator: torch.Generator, detail: int | None = None) -> Tensor:
    """The image of detail x detail pixels on a black canvas of side x side, at a position drawn once per image."""
    small = detail or side // 2
    objects = resize(images, small, small)
    n, c = images.shape[:2]
    corner = torch.randint(0, side - small + 1, (n, 2), generator=generator)
    rows = repeat(corner[:, :1] + torch.arange(small), "n h -> n c h w", c=c, w=small)
    columns = repeat(corner[:, 1:] + torch.arange(small), "n w -> n c h w", c=c, h=side)
    strip = torch.zeros(n, c, side, small, dtype=torch.uint8).scatter_(2, rows, objects)
    return torch.zeros(n, c, side, side, dtype=torch.uint8).scatter_(3, columns, strip)


VARIANTS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"plain": plain, "stretch": stretch, "tile": tile, "large": large, "canvas": canvas}
)
