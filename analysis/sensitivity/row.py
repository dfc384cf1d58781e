"""One row of a sensitivity report: a resolution along one axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dynpool.size_math import Size

from ..common.statistics import MeanStd

__all__ = ["SensitivityRow", "plain"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SensitivityRow:
    """One resolution along one axis. All figures are means over the batches, with their spread.

    Attributes:
        name: of the resolution.
        axis: "height", "width", or "both" if one number of alpha serves both; of sequences "length", of volumes also
            "depth", or "all".
        size: present size in pixels, one number for each axis.
        differences: {pixels more: loss there minus loss at the present size}, paired batch by batch.
        unreachable: {pixels more: why the resolution cannot have that size}.
        gradient: d loss / d pixel of the learned parameter; None if no gradient flows through the loss.
        slope: (loss at +s - loss at -s) / 2s, with s the smallest step that can be taken both ways; None without one.
    """

    name: str
    axis: str
    size: Size
    differences: Mapping[int, MeanStd]
    unreachable: Mapping[int, str]
    gradient: MeanStd | None
    slope: MeanStd | None

    @property
    def snr(self) -> float | None:
        """Signal to noise of the gradient of a batch: |mean| / standard deviation over batches; None if undefined."""
        if self.gradient is None or not self.gradient.std:
            return None
        return abs(self.gradient.mean) / self.gradient.std

    @property
    def agrees(self) -> bool | None:
        """Whether the gradient points to the side on which the loss rises less; None if one of the two is missing."""
        if self.gradient is None or self.slope is None:
            return None
        product = math.copysign(1.0, self.gradient.mean) * self.slope.mean
        return product > 0 if self.gradient.mean and product and math.isfinite(product + self.gradient.mean) else None

    @property
    def clear(self) -> bool:
        """Whether the 95 % confidence intervals (Student's t, over batches) of gradient and slope both exclude zero."""
        return _excludes_zero(self.gradient) and _excludes_zero(self.slope)

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return {
            "name": self.name,
            "axis": self.axis,
            "size": list(self.size),
            "differences": {f"{step:+d}": plain(found) for step, found in self.differences.items()},
            "unreachable": {f"{step:+d}": why for step, why in self.unreachable.items()},
            "gradient": None if self.gradient is None else plain(self.gradient),
            "snr": self.snr,
            "slope": None if self.slope is None else plain(self.slope),
            "agrees": self.agrees,
            "clear": self.clear,
        }


def _excludes_zero(found: MeanStd | None) -> bool:
    if found is None or not found.error:
        return False
    low, high = found.interval(CONFIDENCE) or (0.0, 0.0)
    return low > 0 or high < 0


def plain(found: MeanStd) -> dict[str, float | None]:
    """Mean, standard deviation and standard error as plain data."""
    return {"mean": found.mean, "std": found.std, "error": found.error}
