"""A small network with a border layer, images of two classes that it can tell apart, and rows of reports."""

from typing import Any

import numpy as np
import torch
from torch import nn

from dynpool.analysis.representations import InspectionRow, Probe, Saturation

__all__ = ["SIZE", "batches", "network", "row"]

SIZE = (1, 12, 12)


def network():
    """Convolutions with the fields 3, 6, 14 and 22, of which the last is unproductive at 12 pixels; same weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def batches(images=96, batch=20, seed=0, classes=3):
    """Pairs (images, labels): noise with a square that is the brighter the higher the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    x = torch.randn(images, *SIZE, generator=generator)
    x[:, :, 3:9, 3:9] += labels.view(-1, 1, 1, 1)
    return list(zip(x.split(batch), labels.split(batch), strict=True))


def row(name="a", *, r_min_in=(1.0, 1.0), r_max_in=None, accuracy=0.5, relative=None, share=0.5, **changes):
    """A row of 100 channels, with fields that grow by two; no field if `r_min_in` is None."""
    grown = None if r_min_in is None else tuple(r + 2 for r in r_min_in)
    values: dict[str, Any] = {
        "name": name,
        "kind": "Conv2d",
        "size": (6, 6),
        "channels": 100,
        "r_min_in": r_min_in,
        "r_max_in": r_min_in if r_max_in is None else r_max_in,
        "r_min": grown,
        "r_max_local": grown,
        "unproductive": None if r_min_in is None else bool(np.min(r_min_in) >= 12),
        "probe": None if accuracy is None else Probe(accuracy, 400, True, 10),
        "relative": relative,
        "saturation": None if share is None else Saturation(round(100 * share), round(100 * share) + 1, 100),
        "samples": 1000,
    }
    return InspectionRow(**(values | changes))
