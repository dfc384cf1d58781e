"""Scenes for segmentation that need no download: digits of different sizes on a textured canvas, a class a pixel.

The digits of training and test scenes are different ones. A scene is drawn from its number alone, so it is the same for
every run. Digits do not overlap.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import Arrays
from .data_config import DataConfig
from .digits import digit_images
from .seeding import generator_for
from .segmentation import IGNORED

__all__ = ["CLASSES", "SCENES", "digit_scenes"]

CLASSES = ("background", *map(str, range(10)))
SCENES = {"train": 1000, "test": 250}
FEWEST, MOST = 4, 8  # digits in a scene
LARGEST = 0.45  # of the side of the canvas, of the side of a digit
SMALLEST = 8  # pixels, at which each pixel of the digit is one
TRIES = 40  # places for a digit, before it is left out
INKED, BLANK = 0.5, 0.25  # share of ink from which a pixel is the digit's, and up to which it is background


def digit_scenes(config: DataConfig) -> Arrays:
    """The scenes of both splits: images (N, 1, H, W) and masks (N, H, W) of uint8, with `config.resolution` as side.

    A pixel is a digit's if at least half of it is inked, and background if at most a quarter is; between them, at the
    edge of a stroke, it is `IGNORED`.
    """
    digits = digit_images(config)
    arrays = {}
    for split, count in SCENES.items():
        images, labels = torch.from_numpy(digits[f"{split}_images"]), digits[f"{split}_labels"]
        scenes = [_scene(images, labels, config.resolution, generator_for("scene", split, k)) for k in range(count)]
        arrays[f"{split}_images"] = np.stack([image.numpy() for image, _ in scenes])
        arrays[f"{split}_labels"] = np.stack([mask.numpy() for _, mask in scenes])
    return arrays


def _scene(
    digits: Tensor, labels: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", side: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One scene: image (1, H, W) and mask (H, W), both uint8."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    canvas = _texture(side, generator)
    mask = torch.zeros(side, side, dtype=torch.uint8)
    count = int(torch.randint(FEWEST, MOST + 1, (), generator=generator))
    log_sides = [uniform(math.log(SMALLEST), math.log(LARGEST * side)) for _ in range(count)]
    taken: list[tuple[int, int, int]] = []
    for size in sorted((round(math.exp(value)) for value in log_sides), reverse=True):
        number = int(torch.randint(len(labels), (), generator=generator))
        tone = uniform(0.6, 1.0)
        place = _place(size, side, taken, generator)
        if place is None:
            continue
        top, left = place
        taken.append((top, left, size))
        ink = F.interpolate(digits[None, number].float() / 255, (size, size), mode="bilinear")[0, 0]
        part = slice(top, top + size), slice(left, left + size)
        canvas[part] = canvas[part] * (1 - ink) + tone * ink
        mask[part][ink > BLANK] = IGNORED
        mask[part][ink >= INKED] = int(labels[number]) + 1
    return (canvas * 255).round_().clamp_(0, 255).to(torch.uint8)[None], mask


def _texture(side: int, generator: torch.Generator) -> Tensor:
    """A canvas of grey noise, coarse and fine, from 0 to 0.35."""
    coarse = torch.rand(1, 1, max(side // 8, 2), max(side // 8, 2), generator=generator)
    smooth = F.interpolate(coarse, (side, side), mode="bilinear")[0, 0]
    return 0.25 * smooth + 0.1 * torch.rand(side, side, generator=generator)


def _place(
    size: int, side: int, taken: list[tuple[int, int, int]], generator: torch.Generator
) -> tuple[int, int] | None:
    """A free place (top, left) for a square, drawn at random; None if none was found."""
    for top, left in torch.randint(0, side - size + 1, (TRIES, 2), generator=generator).tolist():
        if all(_apart(top, y, size, other) or _apart(left, x, size, other) for y, x, other in taken):
            return top, left
    return None


def _apart(start: int, other_start: int, length: int, other_length: int) -> bool:
    """Whether there is at least a pixel between two lengths of an axis."""
    return start + length < other_start or other_start + other_length < start
