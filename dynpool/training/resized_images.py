"""Images made larger or smaller as the first step of a network, to the size at which the network has a given cost."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.graph import TraceError
from dynpool.size_math import Size

from .budget import TOLERANCE

__all__ = ["image_size_for", "resize_images"]

LARGEST = 8  # times the side of the images


def image_size_for(model: nn.Module, input_size: tuple[int, ...], gmacs: float) -> tuple[Size, float]:
    """The (height, width) of images, in proportion, at which a network costs nearest to `gmacs`; and ln(cost / gmacs).

    Args:
        model: a network that runs at different input sizes.
        input_size: (C, H, W) of the images in pixels.
        gmacs: the cost.

    Raises:
        ValueError: if no images cost so much or so little: larger than 8 times these, or too small for the network.
    """
    channels, height, width = input_size
    longer = max(height, width)

    def scaled(side: int) -> Size:
        return max(round(height * side / longer), 1), max(round(width * side / longer), 1)

    def cost(side: int) -> float:
        """In GMACs; of images too small for the network 0, of others that it does not take infinite."""
        try:
            return dynpool.count_macs(model, (channels, *scaled(side))).gmacs
        except TraceError:
            return 0.0 if side < longer else math.inf

    dynpool.count_macs(model, input_size)  # raises the error of a network that does not take these images either
    low, high = 1, LARGEST * longer
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < gmacs else (low, middle)
    found = {side: cost(side) for side in (low, high)}
    missed = {side: math.log(value / gmacs) for side, value in found.items() if 0 < value < math.inf}
    best = min(missed, key=lambda side: abs(missed[side]))
    between = len(missed) == 2 and found[low] <= gmacs <= found[high]
    if not between and abs(math.expm1(missed[best])) > TOLERANCE:
        h, w = scaled(best)
        said = f"the nearest images that the network takes, of {h}x{w} pixels, cost {found[best]:.6g} GMACs"
        raise ValueError(f"gmacs_budget is {gmacs!r}, which is out of reach: {said}")
    return scaled(best), missed[best]


class _Resize:
    """A forward pre-hook: images are interpolated to a size, antialiased where they become smaller."""

    def __init__(self, before: Size, size: Size) -> None:
        self.scale = tuple(_factor(n, m) for n, m in zip(before, size, strict=True))
        self.antialias = min(self.scale) < 1

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> Any:
        images, *others = args
        images = F.interpolate(images, scale_factor=self.scale, mode="bilinear", antialias=self.antialias)
        return (images, *others)


def _factor(before: int, size: int) -> float:
    """size / before, or the next number if the product with `before` would be rounded to one pixel less."""
    factor = size / before
    return factor if math.floor(before * factor) == size else math.nextafter(factor, math.inf)


def resize_images(model: nn.Module, before: Size, size: Size) -> None:
    """Make a network interpolate its images from `before` to `size` (height, width) pixels as its first step.

    A hook does it, so that the names of the weights stay; the sizes that follow from the image's do so in a trace, too,
    as it interpolates by a factor.
    """
    if size != before:
        model.register_forward_pre_hook(_Resize(before, size))
