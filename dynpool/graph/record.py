"""The record of a pass: its values and operations, in order. Rules, costs and receptive fields are computed from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from dynpool.resizers import LearnedResizer

from .inputs import Inputs
from .meta.aliasing import PLAIN, Aliasing

__all__ = ["Node", "Place", "Primitive", "Record", "Shape", "Shapes", "Value"]

# An operation of a pass by what does not change with sizes: module path and call, operation, occurrence index there.
Place = tuple[str, int, str, int]
Shape = tuple[int, ...]
Shapes = Mapping[Place, tuple[tuple[Shape, ...], tuple[Shape, ...]]]  # of its inputs, and of its outputs


@dataclass(eq=False)
class Value:
    """A tensor seen while tracing."""

    id: int
    shape: Shape
    origin: str  # "input", "parameter", "buffer", "constant" or "op"
    name: str = ""
    data: Tensor | None = None  # of integers or booleans that the forward pass makes
    dtype: torch.dtype = torch.float32

    @property
    def bytes(self) -> int:
        """Memory of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class Primitive:
    """What an operation is; the kinds are in `dynpool.graph.primitives`."""


@dataclass
class Node:
    """One operation: all its arguments by name, with `Value`s instead of tensors, and the module that ran it.

    It is an ATen operation, an operator of this library, or "dynpool.resizer": a whole `LearnedResizer`, in which
    case `resizer` is the module. A tensor written in place gets a new value; `aliasing` says which argument that was.
    """

    index: int
    op: str  # such as "aten.convolution"
    arguments: dict[str, Any]  # in the schema's order; defaults where nothing was given
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    path: str
    call: int  # how often the module had been called before, in this pass
    occurrence: int  # how often it had run the operation before, in this call
    pointwise: bool
    resizer: LearnedResizer[Any] | None = None
    aliasing: Aliasing = PLAIN
    primitive: Primitive = field(default_factory=Primitive)  # what the operation is, once the pass is over

    @property
    def place(self) -> Place:
        return (self.path, self.call, self.op, self.occurrence)

    @property
    def written(self) -> list[tuple[int, int]]:
        """The values that the operation writes to, mapped to the new values."""
        return [(self.arguments[name].id, self.outputs[i]) for name, i in self.aliasing.written]


@dataclass
class Record:
    """What one forward pass executes.

    `size` is (C, extents...) of the input, `inputs` the tensors of these extents and `input_id` the first of them;
    `outputs` the tensors made by the pass that outlive it, returned or stored anywhere; `notes` remarks for the user;
    `returns` the shapes that module calls return, after any hooked resize. `others` are the shapes of a second pass
    over an input of the size `larger`. `classes_of` are the names of the modules' classes by path, `weights` the values
    of parameters and buffers by name: one value for all names of a shared tensor.
    """

    _only_read: ClassVar[bool] = True  # no pass changes it: see `untouched`

    size: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    batch: int = 1  # images of the pass
    example: Inputs | None = None  # the arguments of the pass
    input_id: int = 0
    inputs: tuple[int, ...] = ()
    outputs: frozenset[int] = frozenset()
    every_window: bool = False
    others: Shapes = field(default_factory=dict)
    larger: tuple[int, ...] | None = None
    calls: dict[str, int] = field(default_factory=dict)
    callers: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)  # of a module's call: its caller's
    returns: dict[Place, tuple[tuple[Shape, ...], tuple[Shape, ...]]] = field(default_factory=dict)
    classes_of: dict[str, str] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    @cached_property
    def makers(self) -> dict[int, Node]:
        """The operations that values are outputs of."""
        return {value: node for node in self.nodes for value in node.outputs}

    @property
    def input_size(self) -> tuple[int, ...]:
        """(C, extents...), such as (C, H, W)."""
        return self.size

    @property
    def ndim(self) -> int:
        """The number of spatial axes of the input."""
        return len(self.size) - 1
