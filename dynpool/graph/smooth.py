"""Sizes without rounding, for the gradient of a cost to the learned strides."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Smooth"]


@dataclass(frozen=True)
class Smooth:
    """The continuous surrogate of a size (Eq. 7): pixels divided by learned strides.

    Borders do not count: pixels added or removed leave it as it is.

    Attributes:
        pixels: the size at learned strides of 1.
        strides: the indices of the learned strides by which it is divided.
    """

    pixels: float
    strides: tuple[int, ...] = ()

    def __add__(self, border: int) -> Smooth:
        return self

    __sub__ = __add__

    def __mul__(self, factor: float) -> Smooth:
        return Smooth(self.pixels * factor, self.strides)

    def over(self, stride: int) -> Smooth:
        """The size divided by one more learned stride."""
        return Smooth(self.pixels, (*self.strides, stride))
