"""Running first and second moments of a layer's activations, from which its covariance follows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Moments", "moments_bytes"]

MOST_VALUES = 2**22  # converted to float64 at once


class Moments:
    """Mean and covariance over samples that arrive in batches, in float64; memory does not grow with their number.

    Every position of a map is a sample. Samples are shifted by the mean of the first batch, so that a large mean costs
    no precision.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        self.samples = 0
        self._shift: Tensor | None = None
        self._first = torch.zeros(channels, dtype=torch.float64, device=device)
        self._second = torch.zeros(channels, channels, dtype=torch.float64, device=device)

    def add(self, maps: Tensor) -> None:
        """Add all positions of all maps.

        Args:
            maps: (images, channels, positions).
        """
        if self._shift is None:
            self._shift = maps.mean((0, 2), dtype=torch.float64)
        images = max(1, MOST_VALUES // max(1, maps[0].numel()))
        for part in maps.split(images):
            samples = part.transpose(0, 1).flatten(1).to(torch.float64) - self._shift[:, None]
            self._first += samples.sum(1)
            self._second += samples @ samples.T
            self.samples += samples.shape[1]

    @property
    def covariance(self) -> Tensor:
        """The covariance over all samples (divided by their number), (channels, channels), on the CPU.

        Raises:
            ValueError: before any sample.
        """
        if not self.samples:
            raise ValueError("there is no covariance without a sample")
        mean = self._first / self.samples
        return (self._second / self.samples - torch.outer(mean, mean)).cpu()


def moments_bytes(channels: int) -> int:
    """Bytes that the moments of a layer take."""
    return 8 * channels * (channels + 2)
