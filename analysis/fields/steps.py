"""The steps of a field program: the effect of an operation on receptive fields along each axis of the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from dynpool.graph import Graph
from dynpool.resizers import LearnedResizer
from dynpool.size_math import effective_kernel, sample_kernel

__all__ = [
    "GLOBAL",
    "INPUT",
    "GlobalOperation",
    "Join",
    "Layer",
    "Resized",
    "Step",
    "Window",
    "input_step",
    "interpolated",
]

INPUT, GLOBAL = 0, 1  # slots of the input, and of fields that are global along every axis; step i fills slot 2 + i


class Window(NamedTuple):
    """The window of output position q along one axis: `kernel` positions of the source around `offset + q * stride`.

    All are in positions of the source; `kernel` includes dilation. For a resizer of several paths, `kernel` is that of
    the widest, infinite if it sees the whole axis, and `narrow` that of the narrowest.
    """

    kernel: float = 1
    stride: float = 1.0
    offset: float = 0.0
    narrow: float | None = None

    @property
    def shortest(self) -> float:
        return self.kernel if self.narrow is None else self.narrow


@dataclass(frozen=True)
class Resized:
    """The window of a resizer, which follows from its input and output size along `dim`, counted from the last: -1.

    The operation `node` resizes the map `value` from `size_in` to `size_out` pixels at tracing. For an interpolation,
    `points` is the number of pixels read per output, `factor` the scale factor that the code requests, if any, and
    `copies` is as in `input_step`. DynOPool's cells have a footprint instead.
    """

    node: int
    value: int
    dim: int
    size_in: int
    size_out: int
    points: int = 1
    reduce: str = ""
    align_corners: bool = False
    factor: float | None = None
    copies: bool = True
    resizer: LearnedResizer[Any] | None = None  # determines which pixels it sees, if it is not a single operation

    def at_tracing(self) -> Window:
        return self.window(self.size_in, self.size_out)

    def axes(self, graph: Graph) -> tuple[int | None, int | None]:
        """The axis classes of its input and output; None along an axis that the input of the model does not have."""
        resize = graph.resize_at.get(self.node)
        if resize is None or -self.dim > resize.axes:
            return None, None
        of_map = graph.dims(self.value)[self.dim].axis  # a resizer may have several maps
        return resize.source[self.dim] if self.resizer is None else of_map, resize.target[self.dim]

    def window(self, size_in: int, size_out: int) -> Window:
        ratio = Fraction(size_in, size_out)
        stride, centre = float(ratio), float((ratio - 1) / 2)
        if self.resizer is not None:
            narrow, wide = self.resizer.footprint(size_in, size_out, self.dim + self.resizer.axes)
            return Window(wide, stride, centre, narrow)
        if self.reduce in ("max", "mean"):
            return Window(effective_kernel(size_in, size_out), stride, centre)
        if self.reduce == "sample":
            return Window(sample_kernel(size_in, size_out), stride, 0.0)
        return interpolated(size_in, size_out, self.points, self.align_corners, self.factor, self.copies)


def input_step(size_in: int, size_out: int, factor: float | None, copies: bool) -> Fraction:
    """The input positions from one output of an interpolation to the next, without `align_corners`.

    PyTorch steps by the scale factor (output by input) where code gives one, though the map's size is rounded. In a
    converted model it counts only at sizes that it gives. `copies`: whether an axis whose size the factor does not
    change is copied.
    """
    if factor is None or factor <= 0 or int(size_in * factor) != size_out or (copies and size_in == size_out):
        return Fraction(size_in, size_out)
    return 1 / Fraction(factor).limit_denominator(10**6)  # 0.4 means 2/5


def interpolated(
    size_in: int, size_out: int, points: int, align_corners: bool, factor: float | None = None, copies: bool = True
) -> Window:
    """The window of an interpolation between `points` positions along one axis (1: the nearest)."""
    ratio = input_step(size_in, size_out, factor, copies)
    if size_in == size_out and (ratio == 1 or align_corners):
        return Window()
    if align_corners:
        return Window(points, (size_in - 1) / (size_out - 1) if size_out > 1 else float(ratio), 0.0)
    if points == 1:  # floor(q * stride) is on average this much below q * stride
        return Window(1, float(ratio), float(-(1 - Fraction(1, ratio.denominator)) / 2))
    return Window(points, float(ratio), float((ratio - 1) / 2))


@dataclass(frozen=True)
class Layer:
    """A window slides over the map; it is a row of the report if it has a name.

    `whole` lists input dimensions, as value, dimension and size at tracing, of a convolution that is a linear layer if
    its kernel covers them (VGG's first, in timm). `dims` are the output dimensions along the axes of the image, and
    `slides` those that its windows slide along: fewer if tokens combine several axes of the image.
    """

    source: int
    windows: tuple[Window | Resized, ...]
    name: str = ""
    kind: str = ""
    node: int = -1
    whole: tuple[tuple[int, int, int], ...] = ()
    dims: tuple[int | None, ...] = ()
    slides: tuple[int, ...] = ()
    macs: int = 0
    parameters: int = 0
    weight_bytes: int = 0

    def at_tracing(self) -> tuple[Window, ...]:
        """The windows at the sizes of the trace."""
        return tuple([w if isinstance(w, Window) else w.at_tracing() for w in self.windows])

    def covers(self, sizes: Sequence[int], windows: Sequence[Window]) -> bool:
        """Whether the windows cover the whole map, of the given sizes, as those of a linear layer over it."""
        return bool(self.whole) and all(n == w.kernel for n, w in zip(sizes, windows, strict=True))


@dataclass(frozen=True)
class Join:
    """An operation where several paths are combined."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class GlobalOperation:
    """An operation after which every position depends on all positions along the axes marked True."""

    source: int
    axes: tuple[bool, ...]


Step = Layer | Join | GlobalOperation
