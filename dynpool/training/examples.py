"""Writes what a run of segmentation leaves to look at: see `dynpool.analysis.comparison.examples`."""

from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from dynpool.analysis import receptive_field
from dynpool.analysis.common.atomic_files import write_whole
from dynpool.common.extras import optional

from .errors import writing
from .segmentation import IGNORED, scores_at
from .splits import Dataset

__all__ = ["component_sizes", "write_examples"]

SHOWN = 6  # images
MEASURED = 256  # masks, whose objects are measured
BATCH = 32


@torch.no_grad()
def write_examples(path: Path, model: nn.Module, dataset: Dataset) -> None:
    """Write predictions of test images, sizes of objects, and the receptive fields of maps, to an .npz file.

    Args:
        path: the file.
        model: the network, in eval mode.
        dataset: its images.

    Raises:
        DiskFullError, UnwritableError: if it cannot be written.
    """
    test = dataset.test
    objects: list[tuple[int, int]] = []
    shown: dict[str, Tensor] = {}
    for number, (images, masks) in enumerate(test.batches(BATCH, seed=0)):
        if not shown:
            some, wanted = images[:SHOWN], masks[:SHOWN]
            predicted = scores_at(model(some), wanted.shape[-2:]).argmax(1)
            pixels = ((some * test.std + test.mean) * 255).round().clamp(0, 255)
            shown = {"images": pixels, "masks": wanted, "predicted": predicted}
        objects += [size for mask in masks.cpu() for size in component_sizes(mask)]
        if (number + 1) * BATCH >= MEASURED:
            break
    arrays: dict[str, Any] = {name: value.to("cpu", torch.uint8).numpy() for name, value in shown.items()}
    arrays["classes"] = np.array(dataset.classes)
    arrays["objects"] = np.array(objects, dtype=np.int64).reshape(-1, 2)
    arrays["fields"] = _fields(model, dataset.input_size)
    with writing(path):
        write_whole(path, partial(_save, arrays))


def _save(arrays: dict[str, Any], file: IO[bytes]) -> None:
    np.savez_compressed(file, **arrays)


def component_sizes(mask: Tensor) -> list[tuple[int, int]]:
    """(height, width) in pixels of every connected part of one class in a mask (H, W), without class 0 and `IGNORED`.

    Pixels that touch at a corner are connected.
    """
    with optional():
        from scipy import ndimage
    values = mask.numpy()
    sizes = []
    for kind in np.unique(values[(values > 0) & (values != IGNORED)]):
        parts, _ = ndimage.label(values == kind, structure=np.ones((3, 3)))
        sizes += [
            (rows.stop - rows.start, columns.stop - columns.start) for rows, columns in ndimage.find_objects(parts)
        ]
    return sizes


def _fields(model: nn.Module, input_size: tuple[int, ...]) -> np.ndarray:
    """Of each size of maps, from large to small: height, width, largest r_min, largest local r_max."""
    found: dict[tuple[int, ...], list[tuple[float, ...]]] = {}
    for row in receptive_field(model, input_size).layers:
        found.setdefault(tuple(row.shape[-2:]), []).append((*row.r_min, *row.r_max_local))
    rows = [(*size, *np.max(found[size], axis=0)) for size in sorted(found, reverse=True)]
    return np.array(rows, dtype=np.float64).reshape(-1, 6)
