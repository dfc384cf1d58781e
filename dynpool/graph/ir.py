"""The graph of one pass: its record, and the analyses of it, computed on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from dynpool.size_math import Size

from .axes import Axes, AxisClasses, Extent, Resize
from .axis_rules import find_axes
from .dims import Dim
from .macs import Mac, find_macs, macs_by_node
from .record import Node, Place, Record, Shape, Value
from .sizes import propagate

__all__ = ["Graph", "Node", "Place", "Shape", "Value"]


@dataclass
class Graph(Record):
    """The operations of one forward pass, with shapes, module paths, axis classes, resizes and MACs.

    Axes and MACs are computed on first use. `resizes` are the operations after which a spatial axis may have another
    size, in order of execution; `macs` the operations that multiply and accumulate, for one image; `not_understood` the
    operations on a spatial axis that have no rule. With `every_window`, layers of stride 1 count as resizes too, each
    with output classes of its own.
    """

    @cached_property
    def axes(self) -> Axes:
        return find_axes(self)

    @cached_property
    def macs(self) -> list[Mac]:
        return find_macs(self, self.axes)

    @cached_property
    def macs_by_node(self) -> dict[int, int]:
        """The MACs of the nodes as numbers, by index; this needs no axes."""
        return macs_by_node(self)

    @property
    def all_macs(self) -> int:
        """The MACs of the whole pass for one image."""
        return sum(self.macs_by_node.values())

    @property
    def classes(self) -> AxisClasses:
        return self.axes.classes

    @property
    def resizes(self) -> list[Resize]:
        return self.axes.resizes

    @cached_property
    def resize_at(self) -> dict[int, Resize]:
        """The resizes by the indices of their nodes."""
        return {resize.node: resize for resize in self.resizes}

    @property
    def not_understood(self) -> dict[str, int]:
        return self.axes.not_understood

    @property
    def unmatched(self) -> int:
        """The number of operations on maps without a counterpart in the second pass."""
        return self.axes.unmatched

    @property
    def collapsed(self) -> bool:
        """Whether a map has a single pixel here but more at a larger input."""
        return self.axes.collapsed

    def dims(self, value: int) -> tuple[Dim, ...]:
        """The dimensions of a value, as products of axes and numbers."""
        return self.axes.dims[value]

    def axis_sizes(self, sizer: Callable[[Resize, Size], Size], input_hw: Size | None = None) -> dict[int, int]:
        """Sizes of all axis classes when the learned resizers choose other sizes than at tracing.

        `sizer(resize, size)` gives the output size in pixels of a resize of this library (`Resize.learned`) for its
        input size; all others follow from their own arithmetic. Keys are `classes.find(class)`.
        """

        def output(resize: Resize, size: Size) -> Size:
            return sizer(resize, size) if resize.learned else resize.output(size)

        return propagate(self.axes, self.with_input(*(input_hw or self.input_size[1:])), output, dict.setdefault)

    def with_input(self, *extents: Extent) -> dict[int, Extent]:
        """The sizes of the input by axis class, for :func:`.sizes.propagate`: those of height and width, or others."""
        dims = zip(self.dims(self.input_id)[-len(extents) :], extents, strict=True)
        return {self.classes.find(dim.axis): n for dim, n in dims if dim.axis is not None}
