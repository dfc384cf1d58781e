"""What a run of segmentation leaves to look at: predictions beside masks, sizes of objects, fields of its maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dynpool.common.archives import check_archive

__all__ = ["EXAMPLES_FILE", "Examples", "read_examples"]

EXAMPLES_FILE = "predictions.npz"


@dataclass(frozen=True)
class Examples:
    """The content of predictions.npz of a run.

    Attributes:
        images: (N, C, H, W) of uint8, the first of the test images in an order drawn from seed 0.
        masks, predicted: (N, H, W) of uint8, the classes of their pixels; 255 in masks does not count.
        classes: their names.
        objects: (M, 2), height and width in pixels of the connected parts of one class in masks of test images.
        fields: (K, 6): of each size of maps that layers have, from large to small: height, width, the largest r_min
            (height, width) and the largest local r_max of its layers.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    predicted: npt.NDArray[np.uint8]
    classes: tuple[str, ...]
    objects: npt.NDArray[np.int64]
    fields: npt.NDArray[np.float64]


def read_examples(folder: Path) -> Examples | None:
    """The examples of a run; None if it has none, or they are damaged, which the checksums in done.json show."""
    try:
        check_archive(folder / EXAMPLES_FILE)
        with np.load(folder / EXAMPLES_FILE, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "masks", "predicted", "objects", "fields")}
            return Examples(classes=tuple(map(str, file["classes"])), **arrays)
    except (OSError, ValueError, KeyError):
        return None
