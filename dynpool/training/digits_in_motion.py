"""Clips that need no download: a digit moves over a noisy canvas, and how it moves is the class.

The canvas is a torus: what leaves it on one side comes back on the other. So the digit is everywhere with the same
probability in every frame, whatever the class, and no single frame tells how it moves. The digits of training and test
clips are different ones. A clip is drawn from its number alone, so it is the same for every run.
"""

import numpy as np
import torch

from .cache import Arrays
from .data_config import DataConfig
from .digits import digit_images
from .seeding import generator_for

__all__ = ["DIRECTIONS", "MOTIONS", "SPEEDS", "digits_in_motion"]

DIRECTIONS = {"down": (1, 0), "up": (-1, 0), "right": (0, 1), "left": (0, -1)}
SPEEDS = {"slow": 1, "fast": 3}  # pixels from one frame to the next
MOTIONS = tuple(f"{direction}, {speed}" for direction in DIRECTIONS for speed in SPEEDS)
NOISE = 224  # the brightest grey of the canvas


def digits_in_motion(config: DataConfig) -> Arrays:
    """The clips of both splits, one of each digit: uint8 (N, 1, D, H, W), all three `config.resolution`; labels (N,).

    Labels are indices of `MOTIONS`, each as often as the others, up to one clip. Every frame has its own noise.
    """
    digits = digit_images(config)
    arrays = {}
    for split in ("train", "test"):
        images = torch.from_numpy(digits[f"{split}_images"])[:, 0]
        order = torch.randperm(len(images), generator=generator_for("motion", split))
        labels = order % len(MOTIONS)
        clips = [
            _clip(image, MOTIONS[label], config.resolution, generator_for("motion", split, number))
            for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True))
        ]
        arrays[f"{split}_images"] = torch.stack(clips).numpy()
        arrays[f"{split}_labels"] = labels.numpy().astype(np.int64)
    return arrays


def _clip(digit: torch.Tensor, motion: str, side: int, generator: torch.Generator) -> torch.Tensor:
    """One clip, uint8 (1, D, H, W), of a digit (h, w)."""
    direction, speed = motion.split(", ")
    canvas = torch.zeros(side, side, dtype=torch.uint8)
    canvas[: digit.shape[0], : digit.shape[1]] = digit
    start = torch.randint(0, side, (2,), generator=generator)
    step = torch.tensor(DIRECTIONS[direction]) * SPEEDS[speed]
    frames = torch.stack([canvas.roll(tuple((start + number * step).tolist()), (0, 1)) for number in range(side)])
    noise = torch.randint(0, NOISE + 1, frames.shape, generator=generator, dtype=torch.uint8)
    return torch.maximum(frames, noise)[None]
