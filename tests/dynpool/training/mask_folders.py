"""Folders of small images with masks, for tests: a bright square of a class on a dark canvas."""

import numpy as np
from PIL import Image

__all__ = ["drawn_pair", "mask_folder"]

CLASSES = ("nothing", "small", "large")


def drawn_pair(number, height=20, width=30):
    """An image (H, W, 3) and its mask (H, W), with a square of class 1 or 2 and a row that does not count."""
    generator = np.random.default_rng(number)
    image = generator.integers(0, 60, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), dtype=np.uint8)
    kind = 1 + number % 2
    side = 4 * kind
    top, left = generator.integers(1, height - side), generator.integers(0, width - side)
    image[top : top + side, left : left + side] = 100 + 60 * kind
    mask[top : top + side, left : left + side] = kind
    mask[0] = 255
    return image, mask


def mask_folder(root, images=6, **size):
    """ROOT/classes.txt and ROOT/{train,test}/{images,masks}/*.png, so many images each; returns the root."""
    for split in ("train", "test"):
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
        for k in range(images):
            for part, pixels in zip(("images", "masks"), drawn_pair(k, **size), strict=True):
                Image.fromarray(pixels).save(root / split / part / f"{k}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root
