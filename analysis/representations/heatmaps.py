"""Heat maps of partial solutions: the accuracy of a probe at each position of a layer's map.

Reference: Richter, Byttner, Krumnack, Schallner, Shenk, "Size Matters", 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .probes import check_classes, fit_probe

__all__ = ["HeatMap", "heat_map"]


@dataclass(frozen=True)
class HeatMap:
    """How far the task is solved at each position of a layer's map.

    Attributes:
        name: of the layer.
        size: (height, width) of its map; `accuracy` has fewer entries where positions were averaged.
        accuracy: of a probe on the channels at that position, row by row.
        converged: how many of the probes converged.
    """

    name: str
    size: tuple[int, int]
    accuracy: tuple[tuple[float, ...], ...]
    converged: int

    @property
    def positions(self) -> int:
        """Number of probes."""
        return sum(map(len, self.accuracy))

    def to_dict(self) -> dict[str, Any]:
        """The heat map as plain data."""
        return {
            "name": self.name,
            "size": list(self.size),
            "accuracy": [list(row) for row in self.accuracy],
            "positions": self.positions,
            "converged": self.converged,
        }


def heat_map(
    name: str,
    size: tuple[int, int],
    maps: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray,
    held_out_labels: np.ndarray,
    *,
    iterations: int = 1000,
    done: Callable[[], object] | None = None,
) -> HeatMap:
    """A probe at each position, fitted to the channels there.

    Args:
        name: of the layer.
        size: (height, width) of its map.
        maps: (images, channels, height, width), with `labels` (images,).
        labels: classes.
        held_out: maps of held-out images, with `held_out_labels`.
        held_out_labels: classes.
        iterations: of each probe's solver at most.
        done: called after each position.

    Raises:
        ValueError: for maps that do not match or labels that no probe can be fitted to.
    """
    if maps.ndim != 4 or maps.shape[1:] != held_out.shape[1:]:
        raise ValueError(f"maps must be (images, channels, height, width), got {maps.shape} and {held_out.shape}")
    check_classes(labels, held_out_labels)
    height, width = maps.shape[2:]
    accuracy, converged = np.empty((height, width)), 0
    for y, x in np.ndindex(height, width):
        probe = fit_probe(maps[:, :, y, x], labels, held_out[:, :, y, x], held_out_labels, iterations=iterations)
        accuracy[y, x] = probe.accuracy
        converged += probe.converged
        if done is not None:
            done()
    return HeatMap(name, size, tuple(map(tuple, accuracy.tolist())), converged)
