"""Channels of images, and their mean and deviation."""

import torch
from torch import Tensor

from .errors import DataError

__all__ = ["IMAGENET", "imagenet_moments", "moments", "with_channels"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation per channel


def imagenet_moments(channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel of ImageNet's images, (1, 3, 1, 1) in units of 0..1.

    Raises:
        DataError: for another number of channels than 3.
    """
    if channels != 3:
        raise DataError(f"data.normalise is 'imagenet', whose moments are of 3 channels; the images have {channels}")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    return mean, std


def with_channels(images: Tensor, channels: int | None) -> Tensor:
    """uint8 images (N, C, H, W) with 1 or 3 channels; None: with their own."""
    have = images.shape[1]
    if channels is None or channels == have:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # luma of ITU-R BT.601
    return torch.cat([(part * weights).sum(1, keepdim=True).round_().to(torch.uint8) for part in images.split(1024)])


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel, (1, C, 1, 1) float32 in units of 0..1, summed exactly in integers.

    Args:
        images: uint8 (N, C, H, W), or with any other number of axes, of which mean and deviation have as many.
    """
    total = torch.zeros(images.shape[1], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for part in images.split(1024):
        values = part.long()
        total += values.transpose(0, 1).flatten(1).sum(1)
        squares += values.square().transpose(0, 1).flatten(1).sum(1)
    count = images.numel() // images.shape[1]
    mean = total.double() / count
    std = (squares.double() / count - mean.square()).clamp_min(1.0).sqrt()
    shape = (1, -1, *[1] * (images.ndim - 2))
    return (mean / 255).float().view(shape), (std / 255).float().view(shape)
