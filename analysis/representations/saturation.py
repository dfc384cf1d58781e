"""Saturation: how many directions of a layer's feature space hold the variance of its activations.

Reference: Shenk, Richter, Byttner, Arpteg, Huss, "Feature Space Saturation during Training" (Eq. 1 and 2), as in the
authors' package delve (0.1.50), `delve.metrics.compute_saturation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynpool.common.arguments import check_numbers

__all__ = ["Saturation", "layer_saturation"]


@dataclass(frozen=True)
class Saturation:
    """The saturation of one layer.

    Attributes:
        directions: number of largest eigenvalues whose sum stays below the threshold, as delve counts.
        needed: smallest number of eigenvalues whose sum reaches it: directions + 1, or 0 if there is no variance.
        dimension: number of all eigenvalues, that is of channels.
    """

    directions: int
    needed: int
    dimension: int

    @property
    def share(self) -> float:
        """directions / dimension: the saturation as delve gives it, at least 0 and below 1."""
        return self.directions / self.dimension


def layer_saturation(covariance: Tensor, threshold: float = 0.99) -> Saturation:
    """The number of eigenvalues of a covariance that explain a share of the variance, over the dimension.

    As in delve, it is the number of largest eigenvalues whose sum stays below `threshold` of the total: one less than
    reach it (`needed`), and 0 where the largest one does alone. Negative eigenvalues, from rounding, count as zero.

    Args:
        covariance: (channels, channels), symmetric.
        threshold: share of the variance, above 0 and below 1.

    Raises:
        TypeError: for a threshold that is not a number.
        ValueError: for a threshold out of range or a covariance that is not a finite square matrix.

    Example:
        >>> layer_saturation(torch.diag(torch.tensor([8.0, 1.0, 0.99, 0.01])))
        Saturation(directions=2, needed=3, dimension=4)
    """
    check_numbers("a number above 0 and below 1", lambda value: 0 < value < 1, threshold=threshold)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or not covariance.numel():
        raise ValueError(f"covariance must be a square matrix, got shape {tuple(covariance.shape)}")
    if not bool(torch.isfinite(covariance).all()):
        raise ValueError("covariance has NaN or infinite entries; all must be finite")
    values = torch.linalg.eigvalsh(covariance.double()).flip(0).clamp(min=0)
    shares = values.cumsum(0) / values.sum()  # NaN without variance
    below = int((shares < threshold).sum())
    return Saturation(below, below + 1 if bool(values.any()) else 0, len(values))
