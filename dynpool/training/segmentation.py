"""Arithmetic of segmentation: scores at the size of a mask, their loss, and mean IoU from a confusion matrix."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["IGNORED", "confusion", "mean_iou", "pixel_accuracy", "pixel_cross_entropy", "scores_at", "sliding_scores"]

IGNORED = 255
"""The class of pixels that count neither in the loss nor in mean IoU."""


def scores_at(output: Any, size: torch.Size) -> Tensor:
    """The scores of a network, (N, K, *size), bilinearly interpolated to it if they have another size.

    Args:
        output: scores (N, K, h, w), or a mapping with these under "out", as torchvision's networks return it.
        size: height and width in pixels.
    """
    scores: Tensor = output["out"] if isinstance(output, Mapping) else output
    if scores.shape[-2:] == size:
        return scores
    return F.interpolate(scores, size, mode="bilinear", align_corners=False)


def pixel_cross_entropy(output: Any, masks: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """The mean over pixels of the cross entropy, a scalar; pixels of the class `IGNORED` do not count.

    Zero if no pixel counts.

    Args:
        output: of the network, see `scores_at`.
        masks: classes (N, H, W), of any integer type.
        label_smoothing: the fraction of a pixel's probability that is spread over all classes.
    """
    wanted = masks.long()
    scores = scores_at(output, masks.shape[-2:])
    total = F.cross_entropy(
        scores, wanted, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
    )  # fmt: skip
    return total / (wanted != IGNORED).sum().clamp(min=1)


def confusion(scores: Tensor, masks: Tensor) -> Tensor:
    """The number of pixels of each class (row) that are taken for each class (column): (K, K) int64.

    Args:
        scores: (N, K, H, W).
        masks: (N, H, W); pixels of the class `IGNORED` do not count.
    """
    classes = scores.shape[1]
    cells = torch.where(masks == IGNORED, classes**2, classes * masks.long() + scores.argmax(1)).flatten()
    counts = cells.new_zeros(classes**2 + 1)  # with one for what does not count: no wait for the size of a selection
    return counts.scatter_add_(0, cells, torch.ones_like(cells))[:-1].view(classes, classes)


def mean_iou(counts: Tensor) -> float:
    """The mean over classes of intersection / union, of the classes that masks or predictions have; 0 if none.

    Args:
        counts: confusion matrix (K, K), see `confusion`.
    """
    shared = counts.diagonal().double()
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    there = union > 0
    return float((shared[there] / union[there]).mean()) if there.any() else 0.0


def pixel_accuracy(counts: Tensor) -> float:
    """The share of pixels whose class is right; 0 without pixels.

    Args:
        counts: confusion matrix (K, K), see `confusion`.
    """
    return float(counts.diagonal().sum() / counts.sum().clamp(min=1))


def sliding_scores(model: Callable[[Tensor], Any], images: Tensor, window: tuple[int, int]) -> Tensor:
    """The scores of images from windows that slide over them, (N, K, H, W): their mean where windows overlap.

    Windows lie about two thirds of their size apart, at most, and evenly.

    Args:
        model: the network.
        images: (N, C, H, W), at least as large as a window.
        window: its height and width in pixels.
    """
    height, width = images.shape[-2:]
    total, count = None, images.new_zeros(height, width)
    for top in _starts(height, window[0]):
        for left in _starts(width, window[1]):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            scores = scores_at(model(images[..., rows, columns]), torch.Size(window))
            if total is None:
                total = scores.new_zeros(len(images), scores.shape[1], height, width)
            total[..., rows, columns] += scores
            count[rows, columns] += 1
    if total is None:
        raise ValueError(f"images of {height}x{width} pixels have no window of {window[0]}x{window[1]}")
    return total / count


def _starts(length: int, window: int) -> list[int]:
    """Where windows start along an axis."""
    left = length - window
    steps = -(-3 * left // (2 * window))
    return [round(left * step / steps) for step in range(steps + 1)] if steps > 0 else [0] * (left >= 0)
