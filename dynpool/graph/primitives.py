"""The primitives that axes, MACs and receptive fields are computed from: every traced operation is one of these.

`dynpool.graph.ops` maps ATen operations to primitives, `dynpool.register_op` custom operations. Tensors are `Value`s of
the record, dimensions are counted from 0, and output shapes are those of the recorded pass. `x` is the tensor whose
positions the output is computed from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .record import Primitive, Value

__all__ = [
    "Attention",
    "Broadcast",
    "Concatenate",
    "Diagonal",
    "Elementwise",
    "Fold",
    "Gather",
    "GridSample",
    "Index",
    "Make",
    "Normalize",
    "Opaque",
    "Pad",
    "Patches",
    "Permute",
    "Primitive",
    "Product",
    "Recurrent",
    "Reduce",
    "Regroup",
    "Repeat",
    "Resample",
    "Resizer",
    "Scan",
    "Slice",
    "Take",
    "Unfold",
    "Unpool",
    "View",
    "Window",
    "Write",
]

Ints = tuple[int, ...]


# --- position by position ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Elementwise(Primitive):
    """Each output position is computed from the corresponding position of every input, broadcast as usual."""

    inputs: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Broadcast(Primitive):
    """x expanded as by `Tensor.expand`: along dimensions of size 1, and along new leading ones."""

    x: Value


@dataclass(frozen=True, eq=False)
class Make(Primitive):
    """A tensor that depends on no input, shaped like `like`, or as the model's code says if that is None."""

    like: Value | None = None


@dataclass(frozen=True, eq=False)
class Normalize(Primitive):
    """A normalisation by statistics over the dimensions `over`, with weights along the dimensions `weighted`."""

    x: Value
    over: Ints
    weighted: Ints = ()


# --- positions moved --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class View(Primitive):
    """A reshape: the same elements in the same order."""

    x: Value


@dataclass(frozen=True, eq=False)
class Permute(Primitive):
    """Output dimension i is dimension `order[i]` of x, or a new one for None; dimensions not in `order` have size 1."""

    x: Value
    order: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Slice(Primitive):
    """Output k has the entries `ranges[k]` along `dim`; with `drop`, each range has one entry and `dim` is removed."""

    x: Value
    dim: int
    ranges: tuple[range, ...]
    drop: bool = False


@dataclass(frozen=True, eq=False)
class Take(Primitive):
    """The entries `indices[dim]` along each `dim`; the key None stands for the flattened tensor."""

    x: Value
    indices: Mapping[int | None, NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Repeat(Primitive):
    """x repeated `times[i]` times along dimension i, as by `Tensor.repeat`."""

    x: Value
    times: Ints


@dataclass(frozen=True, eq=False)
class Pad(Primitive):
    """Padding before and after each dimension; negative numbers crop. `mode` is as in numpy.pad."""

    x: Value
    around: tuple[tuple[int, int], ...]
    mode: str = "constant"  # or "reflect", "edge"


@dataclass(frozen=True, eq=False)
class Concatenate(Primitive):
    """A concatenation along `dim`; with `new`, a stack along a new dimension `dim`."""

    parts: tuple[Value, ...]
    dim: int
    new: bool = False


@dataclass(frozen=True, eq=False)
class Diagonal(Primitive):
    """The entries (i, i + offset) of two dimensions, as a new last dimension."""

    x: Value
    offset: int
    dims: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Regroup(Primitive):
    """x reshaped to `split`, permuted, and reshaped to the output: pixel and channel shuffles.

    `ratio` is the factor by which the last two dimensions grow.
    """

    x: Value
    split: Ints
    order: Ints
    ratio: Fraction = Fraction(1)


@dataclass(frozen=True, eq=False)
class Unfold(Primitive):
    """Windows of `size` entries along `dim`, as a new last dimension (`Tensor.unfold`)."""

    x: Value
    dim: int
    size: int
    step: int


@dataclass(frozen=True, eq=False)
class Patches(Primitive):
    """All windows of (N, C, H, W) as (N, C * kernel positions, windows), as by `F.unfold`."""

    x: Value
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints


@dataclass(frozen=True, eq=False)
class Fold(Primitive):
    """The sums of overlapping windows, (N, C * kernel positions, windows) to (N, C, H, W), as by `F.fold`."""

    x: Value
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints


# --- positions combined -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Window(Primitive):
    """A window sliding over the last dimensions: a pool, or with `weight` a convolution, which mixes channel groups.

    Kernel, stride, padding and dilation have one int per dimension; stride, padding and dilation default to 1, 0, 1.
    """

    x: Value
    kernel: Ints
    stride: Ints = ()
    padding: Ints = ()
    dilation: Ints = ()
    ceil_mode: bool = False
    weight: Value | None = None
    groups: int = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
            given = getattr(self, name) or (usual,) * len(self.kernel)
            object.__setattr__(self, name, given)
            if len(given) != len(self.kernel):
                raise ValueError(f"Window: {name} must have {len(self.kernel)} ints, as kernel has, got {given}")


@dataclass(frozen=True, eq=False)
class Unpool(Primitive):
    """The reverse of a max pool: entries of x go to where their windows had the maximum; all others are zero."""

    x: Value
    kernel: Ints
    stride: Ints
    padding: Ints


@dataclass(frozen=True, eq=False)
class Resample(Primitive):
    """A resize of the last `ndim` dimensions; the method determines which positions are read.

    `method` is "nearest", "nearest-exact", "linear", "cubic", "linear-antialiased", "cubic-antialiased", "adaptive"
    (cells of equal size), "fractional" (cells of `kernel`), or "max", "mean", "sample" (DynOPool's queries). `scales`
    are the requested factors, output size / input size; None if the code passes the output size.
    """

    x: Value
    ndim: int
    method: str
    scales: tuple[float, ...] | None = None
    align_corners: bool = False
    kernel: Ints = ()


@dataclass(frozen=True, eq=False)
class Resizer(Primitive):
    """A learned resizer of this library: it resizes one map, or resizes several and mixes them."""

    maps: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Reduce(Primitive):
    """Outputs that each depend on all entries along `dims`: one for a sum, several for a sort.

    If the output has fewer dimensions than x, `dims` were removed.
    """

    x: Value
    dims: Ints


@dataclass(frozen=True, eq=False)
class Scan(Primitive):
    """A cumulative operation: each position depends on itself and all before it along `dim`."""

    x: Value
    dim: int


@dataclass(frozen=True, eq=False)
class Recurrent(Primitive):
    """A recurrent network along the dimension `time`; outputs are its sequence and its last states."""

    x: Value
    parameters: tuple[Value, ...]
    time: int
    bidirectional: bool


@dataclass(frozen=True, eq=False)
class Product(Primitive):
    """Matrix product of (..., n, k) and (..., k, m), or of vectors; `added` is added to it."""

    a: Value
    b: Value
    added: Value | None = None


@dataclass(frozen=True, eq=False)
class Attention(Primitive):
    """Attention: each query position depends on all positions of the keys and values."""

    query: Value
    key: Value
    value: Value
    masks: tuple[Value, ...] = ()


# --- positions read or written by index -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Index(Primitive):
    """x[indices]: an index tensor for each indexed dimension, None for the others."""

    x: Value
    indices: tuple[Value | None, ...]


@dataclass(frozen=True, eq=False)
class Gather(Primitive):
    """A gather along `dim` (`torch.gather`); `index` has the shape of the output."""

    x: Value
    dim: int
    index: Value


@dataclass(frozen=True, eq=False)
class GridSample(Primitive):
    """x, (N, C, ...), sampled at the positions in `grid`, (N, ..., number of axes)."""

    x: Value
    grid: Value


@dataclass(frozen=True, eq=False)
class Write(Primitive):
    """x after `source` was written to it: to all of it, or to the positions `index` along `dim`.

    With `anywhere`, the positions are unknown. With `kept`, `source` was added to x. `source` None is a number.
    """

    x: Value
    source: Value | None
    dim: int | None = None
    index: Value | None = None
    anywhere: bool = False
    kept: bool = False


@dataclass(frozen=True, eq=False)
class Opaque(Primitive):
    """An operation in which every output position may depend on all positions of all inputs.

    `described` is False if the operation is only assumed to do that, as it is unknown; `made` is True if the model's
    code sets the output's sizes.
    """

    described: bool = True
    made: bool = False
