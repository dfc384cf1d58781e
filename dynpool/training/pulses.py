"""Series that need no download: two pulses in noise, whose widths and distance are the class.

A series is drawn from its number alone, so it is the same for every run. Where the pulses are says little of the class:
far ones begin earlier on average, so that the first centre alone tells near from far in two of three series (67 % at
128 samples).
"""

import math

import numpy as np
import torch

from .cache import Arrays
from .data_config import DataConfig
from .seeding import generator_for

__all__ = ["DISTANCES", "PULSES", "SERIES", "WIDTHS", "pulse_series"]

SERIES = {"train": 800, "test": 400}
WIDTHS = {"narrow": 2.0, "wide": 5.0}  # samples, of the standard deviation of a bell
DISTANCES = {"near": 0.2, "far": 0.4}  # of the length, between the centres
PULSES = tuple(f"{first}, {second}, {distance}" for first in WIDTHS for second in WIDTHS for distance in DISTANCES)
NOISE, HEIGHT = 0.12, 0.5  # standard deviation of the noise, height of a pulse


def pulse_series(config: DataConfig) -> Arrays:
    """The series of both splits: uint8 (N, 1, L), L being `config.resolution`, and labels (N,), indices of `PULSES`."""
    arrays = {}
    for split, count in SERIES.items():
        labels = torch.arange(count) % len(PULSES)
        series = [
            _series(PULSES[label], config.resolution, generator_for("pulses", split, number))
            for number, label in enumerate(labels.tolist())
        ]
        arrays[f"{split}_images"] = torch.stack(series).numpy()
        arrays[f"{split}_labels"] = labels.numpy().astype(np.int64)
    return arrays


def _series(pulses: str, length: int, generator: torch.Generator) -> torch.Tensor:
    """One series, uint8 (1, L)."""
    first, second, distance = pulses.split(", ")
    apart = DISTANCES[distance] * length * (0.9 + 0.2 * float(torch.rand((), generator=generator)))
    margin = math.ceil(2 * max(WIDTHS.values()))
    start = margin + (length - 2 * margin - apart) * float(torch.rand((), generator=generator))
    time = torch.arange(length, dtype=torch.float64)
    value = 0.25 + NOISE * torch.randn(length, generator=generator, dtype=torch.float64)
    for centre, width in ((start, WIDTHS[first]), (start + apart, WIDTHS[second])):
        value += HEIGHT * torch.exp(-((time - centre) ** 2) / (2 * width**2))
    return (value * 255).round_().clamp_(0, 255).to(torch.uint8)[None]
