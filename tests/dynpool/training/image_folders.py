"""Folders of small images, brighter from class to class, for tests."""

import numpy as np
from PIL import Image

__all__ = ["image_folder"]


def image_folder(root, classes=3, images=12, side=12):
    """ROOT/train/CLASS/*.png and ROOT/test/CLASS/*.png, so many images a class in each; returns the root."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(classes):
            folder = root / split / f"class{number}"
            folder.mkdir(parents=True)
            for k in range(images):
                pixels = generator.integers(0, 60, (side, side)) + 60 * number
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")
    return root
