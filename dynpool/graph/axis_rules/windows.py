"""Rules of operations that slide a window or resample: convolutions, pools, upsampling, shuffles, unfolding."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from dynpool.graph.axes import Atom, Dim, Resize
from dynpool.size_math import window_output_size

from .context import Context, ints

__all__ = [
    "adaptive_pool",
    "avg_pool",
    "convolution",
    "dynopool",
    "fold",
    "grid_sample",
    "max_pool",
    "shuffle",
    "unfold",
    "upsample",
]

_SCALES = {"aten.upsample_nearest2d": 2, "aten._upsample_nearest_exact2d": 2}  # first of the two scale arguments


def _moved(c: Context, before: Dim, i: int) -> Dim:
    """Dimension `i` of the output after a window of stride 1: the same class, by an offset larger or smaller."""
    n, other = c.out.shape[i], c.other(i)
    if before.size == n and other in (None, before.other):
        return before
    before = c.single(before)
    if before.axis is None:
        return c.unrelated(i)
    return Dim((Atom(n, before.axis, other),)) if n > 1 else Dim()


def _spatial(c: Context, resize: dict[str, Any] | None) -> tuple[Dim, ...]:
    """Dimensions after a sliding window: unchanged classes where it does not stride, new ones where it does."""
    x, out = c.first, c.out
    dims = list(c.all_unrelated())
    if len(x.dims) == len(dims):
        dims[:-2] = x.dims[:-2]
    if resize is None:
        dims[-2:] = [_moved(c, x.dims[i], i) for i in (-2, -1)]
        return tuple(dims)
    source = [c.single(d).axis for d in x.dims[-2:]]
    target: list[int | None] = [None, None]
    for i in (0, 1):
        free = dims[i - 2].axis
        number = c.other(i - 2) == out.shape[i - 2] and x.dims[i - 2].other != x.dims[i - 2].size
        if resize.get("given"):
            target[i] = free
        elif number:  # the window grows with the map
            continue
        elif out.shape[i - 2] > 1 and not resize.get("fixed") and (source[i] is not None or free is not None):
            target[i] = free if source[i] is None else c.classes.new(out.shape[i - 2])
            dims[i - 2] = Dim((Atom(out.shape[i - 2], target[i], c.other(i - 2)),))
    c.graph.resizes.append(
        Resize(
            c.node.index,
            c.node.op.split(".")[-1],
            c.node.path,
            c.node.call,
            (source[0], source[1]),
            (target[0], target[1]),
            (x.shape[-2], x.shape[-1]),
            (out.shape[-2], out.shape[-1]),
            **resize,
        )
    )
    return tuple(dims)


def _window(c: Context, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> tuple[Dim, ...]:
    strides = ints(stride, 2)
    if all(s == 1 for s in strides) and not c.graph.every_window:
        return _spatial(c, None)
    resize = {
        "kernel": ints(kernel, 2),
        "stride": strides,
        "padding": ints(padding, 2, 0),
        "dilation": ints(dilation, 2),
    }
    return _spatial(c, {**resize, "ceil_mode": ceil})


def convolution(c: Context) -> tuple[Dim, ...]:
    x, weight = c.first, c.value(c.arg(1))
    _, _, _, stride, padding, dilation, transposed = c.node.args[:7]
    per_output = math.prod(weight.shape[1:])
    rank = len(weight.shape) - 2
    channel = len(x.shape) - rank - 1
    c.pin((x.dims[channel],), "convolved with weights for that many channels")
    if rank != 2:
        dims = [*x.dims[:channel], *c.all_unrelated()[channel:]]
        if rank == 1 and ints(stride, 1) == (1,) and not transposed:
            dims[-1] = _moved(c, x.dims[-1], -1)
    elif transposed:
        strides = ints(stride, 2)
        dims = list(_spatial(c, {"kernel": weight.shape[2:], "stride": strides, "scale": strides}))
    else:
        dims = list(_window(c, weight.shape[2:], stride, padding, dilation, False))
    dims[channel] = c.unrelated(channel)
    if transposed:
        c.mac(math.prod(x.shape) * per_output, x.dims[channel + 1 :])
    else:
        c.mac(math.prod(c.out.shape) * per_output, dims[channel + 1 :])
    return tuple(dims)


def max_pool(c: Context) -> tuple[Dim, ...]:
    kernel = c.arg(1)
    return _window(c, kernel, c.arg(2) or kernel, c.arg(3, 0), c.arg(4, 1), bool(c.arg(5, False)))


def avg_pool(c: Context) -> tuple[Dim, ...]:
    kernel = c.arg(1)
    return _window(c, kernel, c.arg(2) or kernel, c.arg(3, 0), 1, bool(c.arg(4, False)))


def dynopool(c: Context) -> tuple[Dim, ...]:
    return _spatial(c, {})


def _to_given_size(c: Context) -> tuple[Dim, ...]:
    """The model's code says how large the output is: a fixed number, or a size it computed from other sizes."""
    varies = any(c.unrelated(i).axes for i in (-2, -1))
    return _spatial(c, {"given": True} if varies else {"fixed": True})


def adaptive_pool(c: Context) -> tuple[Dim, ...]:
    return _to_given_size(c)


def upsample(c: Context) -> tuple[Dim, ...]:
    at = _SCALES.get(c.node.op, 3)
    scales = (c.arg(at), c.arg(at + 1))
    if scales[0] is None or scales[1] is None:
        return _to_given_size(c)
    return _spatial(c, {"scale": (float(scales[0]), float(scales[1]))})


def shuffle(c: Context) -> tuple[Dim, ...]:
    """Pixel shuffle and unshuffle: height and width times or divided by a constant, channels the other way round."""
    r = c.arg(1)
    ratio = Fraction(r) if c.node.op == "aten.pixel_shuffle" else Fraction(1, r)
    dims = list(c.all_unrelated())
    dims[:-3] = c.first.dims[:-3]
    for i in (-2, -1):
        before = c.single(c.first.dims[i])
        if before.axis is not None:
            dims[i] = Dim((Atom(c.out.shape[i], c.times(before.atoms[0], ratio), c.other(i)),))
    return tuple(dims)


def unfold(c: Context) -> tuple[Dim, ...]:
    """im2col: the positions of a sliding window, flattened, and its pixels as channels."""
    kernel, dilation, padding, stride = (ints(c.arg(i), 2) for i in (1, 2, 3, 4))
    x = c.first
    out: list[Dim] = []
    for i in (0, 1):
        before, window = c.single(x.dims[i - 2]), (kernel[i], stride[i], padding[i], dilation[i])
        n = window_output_size(before.size, *window)
        other = None if before.other is None else window_output_size(before.other, *window)
        if before.axis is None or n == 1:
            out.append(Dim((Atom(n, None, other),)) if n != 1 else Dim())
        elif stride[i] == 1:
            out.append(Dim((Atom(n, before.axis, other),)))
        else:
            offset = Fraction(n * stride[i], before.size) > 1
            axis = c.classes.scaled(before.axis, Fraction(1, stride[i]), n, up=offset)
            out.append(Dim((Atom(n, axis, other),)))
    return (*x.dims[:-3], c.unrelated(-2), Dim((*out[0].atoms, *out[1].atoms)))


def fold(c: Context) -> tuple[Dim, ...]:
    """col2im: a map of the size that the model's code gives."""
    return (*c.first.dims[:-2], *c.all_unrelated()[-3:])


def grid_sample(c: Context) -> tuple[Dim, ...]:
    grid = c.graph.values[c.node.inputs[1]]
    return (*c.first.dims[:2], *grid.dims[1:-1])
