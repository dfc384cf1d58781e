"""The record of one pass: values, operations and the graph that they make. Rules, costs and fields read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from dynpool.resizers.learned_resizer import LearnedResizer2d

from .axes import AxisClasses, Dim, Mac, Resize
from .inputs import check_input_size
from .meta.aliasing import PLAIN, Aliasing

__all__ = ["Graph", "Node", "Place", "Shape", "Value", "ValueRef"]

Pair = tuple[int, int]
Shape = tuple[int, ...]
# An operation of a pass by what does not change with sizes: module path and call, operation, its how-manieth there.
Place = tuple[str, int, str, int]


@dataclass(frozen=True)
class ValueRef:
    """Stands for a tensor in the recorded arguments of a node."""

    id: int


@dataclass
class Value:
    """A tensor seen while tracing: its shape and, dimension by dimension, the resolutions it is made of."""

    id: int
    shape: tuple[int, ...]
    origin: str  # "input", "parameter", "buffer", "constant" or "op"
    name: str = ""
    dims: tuple[Dim, ...] = ()
    data: Tensor | None = None  # of integers or booleans that the forward pass makes


@dataclass
class Node:
    """One operation: its arguments with `ValueRef` in the place of tensors, and the module that ran it.

    It is an ATen operation, an operator of this library, or "dynpool.resizer": a whole `LearnedResizer2d`, then
    `resizer` is the module. What is written in place has a new value; `aliasing` tells of which argument.
    """

    index: int
    op: str  # such as "aten.convolution"
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    path: str
    call: int  # how often the module had been called before, in this pass
    pointwise: bool
    resizer: LearnedResizer2d | None = None
    aliasing: Aliasing = PLAIN

    @property
    def written(self) -> list[tuple[int, int]]:
        """Which values the operation has written to, and the values that they are now."""
        targets = [self.kwargs[at] if isinstance(at, str) else self.args[at] for at, _ in self.aliasing.written]
        return [(target.id, self.outputs[i]) for target, (_, i) in zip(targets, self.aliasing.written, strict=True)]


@dataclass
class Graph:
    """What one forward pass executes, with shapes, module paths, axis classes, resizes and MACs.

    `resizes` are the operations after which a spatial axis may have another size, in order of execution; `macs` the
    operations that multiply and accumulate; `not_understood` the operations that no rule describes and that touched a
    spatial axis; `notes` what else is worth telling. `size` is (C, extents...) of the input, `inputs` the tensors of
    these extents and `input_id` the first of them; `outputs` the tensors that the pass made and that are still there
    behind it, returned or kept anywhere. With `every_window`, layers of stride 1 count as resizes too, each
    opening classes of its own. `returns` has the shapes that the calls of modules return, with resizes hooked to them.
    """

    _only_read: ClassVar[bool] = True  # no pass changes it: see `untouched`

    size: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    classes: AxisClasses = field(default_factory=AxisClasses)
    resizes: list[Resize] = field(default_factory=list)
    macs: list[Mac] = field(default_factory=list)
    not_counted: dict[str, int] = field(default_factory=dict)
    not_understood: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unmatched: int = 0  # operations on maps that the second pass did not run likewise
    batch: int = 1  # images of the pass; `macs` are those of one
    collapsed: bool = False  # whether a map has a single pixel here that has more at a larger input
    input_id: int = 0
    inputs: tuple[int, ...] = ()
    outputs: frozenset[int] = frozenset()
    every_window: bool = False
    calls: dict[str, int] = field(default_factory=dict)
    callers: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)  # of a module's call: its caller's
    returns: dict[Place, tuple[tuple[Shape, ...], tuple[Shape, ...]]] = field(default_factory=dict)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W); ValueError if the model does not take images."""
        return check_input_size(self.size)

    def axis_sizes(self, sizer: Callable[[Resize, Pair], Pair], input_hw: Pair | None = None) -> dict[int, int]:
        """Sizes of all axis classes when the learned resizers choose other sizes than at tracing.

        `sizer(resize, (H, W))` gives the output size in pixels of a resize of this library (`Resize.learned`) for its
        input size; all others follow from their own arithmetic. Keys are `classes.find(class)`.
        """
        root = self.values[self.input_id].dims[-2:]
        hw = input_hw or self.input_size[1:]
        find, ref, size_of = self.classes.find, self.classes.reference, self.classes.size
        sizes: dict[int, int] = {}
        for dim, n in zip(root, hw, strict=True):
            if dim.axis is not None:
                sizes[find(dim.axis)] = n
        for resize in self.resizes:
            if resize.given:
                continue
            now: list[int] = []
            for axis, traced in zip(resize.source, resize.in_size, strict=True):
                known = None if axis is None else size_of(axis, sizes)
                now.append(traced if axis is None or known is None else known + traced - ref(axis))
            here = (now[0], now[1])
            out = sizer(resize, here) if resize.learned else resize.output(here)
            for axis, traced, n in zip(resize.target, resize.out_size, out, strict=True):
                if axis is not None and find(axis) not in sizes:
                    sizes[find(axis)] = n - (traced - ref(axis))
        for axis in self.classes.defined():
            size_of(axis, sizes)
        return sizes
