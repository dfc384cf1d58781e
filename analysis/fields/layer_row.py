"""The receptive field of one layer: a row of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["GLOBAL_PATH", "LayerRow", "per_axis"]

GLOBAL_PATH = "another path runs through a global operation and sees the whole image: r_max is that of the others"

Floats = tuple[float, ...]
Ints = tuple[int, ...]


def per_axis(name: str, value: int | Sequence[int], ndim: int, *, least: int | None = None) -> Ints:
    """A tuple of one int per axis, from such a tuple or a single int. Raises ValueError for anything else."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * ndim
    if len(values) != ndim or not all(isinstance(v, int) and (least is None or v >= least) for v in values):
        wanted = "ints" if least is None else f"ints of at least {least}"
        raise ValueError(f"{name} must be one or {ndim} {wanted} (one per axis), got {value!r}")
    return values


@dataclass(frozen=True)
class LayerRow:
    """One layer. Tuples have one entry per axis: (height, width), (length,) or (depth, height, width).

    Attributes:
        name: the module's path, or the operation in the model's own forward; numbered if it runs several times.
        kind: the operation, such as "convolution".
        kernel: in pixels of the layer's input, dilation included; for a resizer that of its narrowest path.
        stride: in pixels of the layer's input; fractional for resizers.
        r_min_in: receptive field of the layer's input along the shortest path, in pixels of the image.
        r_min: of its output, along the shortest path; infinite if every path is global.
        r_max: of its output, along the longest path; infinite if a path is global.
        r_max_local: along the longest path that is not global, as in publications (Richter & Pal leave out
            squeeze-and-excitation); infinite if every path is global.
        effective_stride: product of all strides up to and including the layer, on the longest path.
        effective_padding: pixels by which the region of output position 0 begins before the image, on the longest path.
        centre: the centre of the region of output position 0, in pixels of the image, on the longest path.
        aligned: whether all paths to the layer's input have one effective stride and one centre (Araujo et al.).
        shape: of the output.
        macs: multiply-accumulates at the sizes of the trace.
        parameters: of the layer itself; 0 if an earlier row has counted them.
        input_shape: of the layer's input.
        activation_bytes: memory of the output, for the batch of the trace.
        weight_bytes: memory of the parameters.
    """

    name: str
    kind: str
    kernel: Floats
    stride: Floats
    r_min_in: Floats
    r_min: Floats
    r_max: Floats
    r_max_local: Floats
    effective_stride: Floats
    effective_padding: Floats
    centre: Floats
    aligned: bool
    shape: Ints
    macs: int
    parameters: int
    input_shape: Ints
    activation_bytes: int
    weight_bytes: int

    @property
    def has_global_path(self) -> bool:
        """Whether some, but not all, paths to its output run through a global operation."""
        return self.r_max != self.r_max_local

    def region(self, position: int | Sequence[int]) -> tuple[tuple[float, float], ...]:
        """Per axis the first and last pixel of the image that an output position sees along the longest path.

        They may lie outside the image, in the padding; infinite along an axis that is global. The recurrence treats all
        positions alike: where they differ, as after a transposed convolution, an interpolation or attention in windows,
        `ReceptiveFieldReport.seen` gives what each really sees.

        Args:
            position: index of the output pixel per axis of the image, or one int for all.

        Raises:
            ValueError: if `position` is not an int or one int per axis.
        """
        at = per_axis("position", position, len(self.r_max))
        regions = []
        for q, r, s, centre in zip(at, self.r_max, self.effective_stride, self.centre, strict=True):
            if math.isinf(r):
                regions.append((-math.inf, math.inf))
                continue
            middle = centre + q * s
            # a fractional end means the pixel that contains it; the margin absorbs rounding errors
            regions.append((math.ceil(middle - (r - 1) / 2 - 1e-6), math.floor(middle + (r - 1) / 2 + 1e-6)))
        return tuple(regions)
