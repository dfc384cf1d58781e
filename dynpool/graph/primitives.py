"""The primitives that axes, MACs and receptive fields are computed from: every traced operation is one of these.

`dynpool.graph.ops` maps ATen operations to primitives, `dynpool.register_op` custom operations. Tensors are `Value`s of
the record; dimensions are counted from 0; output shapes are those of the recorded pass. `x` is the tensor that the
positions of the output come from.
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


# --- positions that correspond ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Elementwise(Primitive):
    """Each output position is computed from the corresponding position of every input, broadcast as usual."""

    inputs: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Broadcast(Primitive):
    """x repeated along dimensions of size 1, and along new ones before its first."""

    x: Value


@dataclass(frozen=True, eq=False)
class Make(Primitive):
    """A tensor whose content depends on no input, with the dimensions of `like`, or a shape set by the model's code."""

    like: Value | None = None


@dataclass(frozen=True, eq=False)
class Normalize(Primitive):
    """Each position is scaled, by statistics over the dimensions `over` and by tables along `weighted`."""

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
    """Output dimension i is dimension `order[i]` of x, or a new one of size 1 for None; those not named had size 1."""

    x: Value
    order: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Slice(Primitive):
    """Output k holds the entries `ranges[k]` along a dimension, which `drop` takes away (then each range has one)."""

    x: Value
    dim: int
    ranges: tuple[range, ...]
    drop: bool = False


@dataclass(frozen=True, eq=False)
class Take(Primitive):
    """The entries `index` along each dimension, all of them in another order; None is the flattened tensor."""

    x: Value
    indices: Mapping[int | None, NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Repeat(Primitive):
    """The tensor repeated along each dimension, with counts as in `Tensor.repeat`."""

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
    """A concatenation along a dimension of the output, or with `new` a stack along a new one."""

    parts: tuple[Value, ...]
    dim: int
    new: bool = False


@dataclass(frozen=True, eq=False)
class Diagonal(Primitive):
    """The diagonal (i, i + offset) of two dimensions, as a new last dimension."""

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
    """Windows of `size` entries along a dimension, as a new last dimension (`Tensor.unfold`)."""

    x: Value
    dim: int
    size: int
    step: int


@dataclass(frozen=True, eq=False)
class Patches(Primitive):
    """(N, C, H, W) to (N, C * kernel, windows), as `F.unfold` gives them."""

    x: Value
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints


@dataclass(frozen=True, eq=False)
class Fold(Primitive):
    """The reverse: (N, C * kernel, windows) to the sums over all windows, (N, C, H, W)."""

    x: Value
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints


# --- positions combined -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Window(Primitive):
    """A window sliding over the last dimensions: a pool, or with `weight` a convolution, which mixes channel groups.

    Kernel, stride, padding and dilation have one int per dimension; the last three default to 1, 0 and 1.
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
                raise ValueError(f"Window: {name} must have {len(self.kernel)} ints as kernel has, got {given}")


@dataclass(frozen=True, eq=False)
class Unpool(Primitive):
    """Each entry of x goes to the position of its window in the output that a max pool has chosen; others are zero."""

    x: Value
    kernel: Ints
    stride: Ints
    padding: Ints


@dataclass(frozen=True, eq=False)
class Resample(Primitive):
    """A resize of the last `ndim` dimensions; the method determines which positions are read.

    `method` is "nearest", "nearest-exact", "linear", "cubic", "linear-antialiased", "cubic-antialiased", "adaptive"
    (cells of equal size), "fractional" (cells of `kernel`), or "max", "mean", "sample" (DynOPool's queries). `scales`
    are the requested factors, output by input; None where the code gives the output size.
    """

    x: Value
    ndim: int
    method: str
    scales: tuple[float, ...] | None = None
    align_corners: bool = False
    kernel: Ints = ()


@dataclass(frozen=True, eq=False)
class Resizer(Primitive):
    """A learned resizer of this library, of one map, or of several that it resizes and mixes."""

    maps: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Reduce(Primitive):
    """A combination of all entries along the dimensions: into one, or as in a sort into several that each see all.

    The dimensions are dropped if the output has fewer than x.
    """

    x: Value
    dims: Ints


@dataclass(frozen=True, eq=False)
class Scan(Primitive):
    """A cumulative operation: each position combines all positions before it along a dimension."""

    x: Value
    dim: int


@dataclass(frozen=True, eq=False)
class Recurrent(Primitive):
    """A recurrent network over the sequences (N, L, C) or (L, N, C); outputs are its sequence and its last states."""

    x: Value
    parameters: tuple[Value, ...]
    time: int
    bidirectional: bool


@dataclass(frozen=True, eq=False)
class Product(Primitive):
    """Matrix product of (..., n, k) and (..., k, m), or of vectors; `added` to it elementwise."""

    a: Value
    b: Value
    added: Value | None = None


@dataclass(frozen=True, eq=False)
class Attention(Primitive):
    """Each query sees all keys and values."""

    query: Value
    key: Value
    value: Value
    masks: tuple[Value, ...] = ()


# --- positions read or written by index -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Index(Primitive):
    """x[indices]: a tensor of positions for each indexed dimension, None for the others."""

    x: Value
    indices: tuple[Value | None, ...]


@dataclass(frozen=True, eq=False)
class Gather(Primitive):
    """A gather along a dimension; `index` has the shape of the output."""

    x: Value
    dim: int
    index: Value


@dataclass(frozen=True, eq=False)
class GridSample(Primitive):
    """x of (N, C, ...) sampled at the positions in `grid`, (N, ..., n)."""

    x: Value
    grid: Value


@dataclass(frozen=True, eq=False)
class Write(Primitive):
    """x after `source` was written to it, everywhere or at the positions `index` along a dimension.

    `dim` None means everywhere; `index` None means unknown positions. With `kept`, `source` was added to x.
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

    `described` is True if the operation really does that, and is not merely unknown; `made` if the output's sizes are
    set by the model's code.
    """

    described: bool = True
    made: bool = False
