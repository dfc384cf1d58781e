"""Rules of sliding windows and resampling: convolutions, pools, upsampling, shuffles, unfolding."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from dynpool.graph import primitives as kinds
from dynpool.graph.axes import Resize
from dynpool.graph.dims import Atom, Dim
from dynpool.graph.record import Value
from dynpool.size_math import Size, window_output_size

from .context import Context, Dims

__all__ = ["fold", "patches", "regroup", "resample", "resizer", "unpool", "window"]


def _moved(c: Context, before: Dim, i: int) -> Dim:
    """Dimension `i` of the output after a window of stride 1: the same class plus an offset."""
    n, other = c.out.shape[i], c.other(i)
    if before.size == n and other in (None, before.other):
        return before
    before = c.single(before)
    if before.axis is None:
        return c.unrelated(i)
    return Dim((Atom(n, before.axis, other),)) if n > 1 else Dim()


def _spatial(c: Context, x: Value, resize: dict[str, Any] | None) -> Dims:
    """Dimensions after a sliding window: the same classes at stride 1, new ones at other strides."""
    own, out, axes = c.dims(x), c.out, c.record.ndim
    dims = list(c.all_unrelated())
    if len(own) == len(dims):
        dims[:-axes] = own[:-axes]
    if resize is None:
        dims[-axes:] = [_moved(c, own[i], i) for i in range(-axes, 0)]
        return tuple(dims)
    source = [c.single(d).axis for d in own[-axes:]]
    target: list[int | None] = [None] * axes
    for i in range(-axes, 0):
        free = dims[i].axis
        number = c.other(i) == out.shape[i] and own[i].other != own[i].size
        if resize.get("given"):
            target[i] = free
        elif number:  # the window grows with the map
            continue
        elif out.shape[i] > 1 and not resize.get("fixed") and (source[i] is not None or free is not None):
            target[i] = free if source[i] is None else c.classes.new(out.shape[i])
            dims[i] = Dim((Atom(out.shape[i], target[i], c.other(i)),))
    last: Any = {name: given[-axes:] if isinstance(given, tuple) else given for name, given in resize.items()}
    c.axes.resizes.append(
        Resize(
            c.node.index,
            _kind(c.node.op, axes),
            c.node.path,
            c.node.call,
            tuple(source),
            tuple(target),
            x.shape[-axes:],
            out.shape[-axes:],
            **last,
        )
    )
    return tuple(dims)


def _kind(op: str, axes: int) -> str:
    """The name of an operation. PyTorch runs pools of sequences as those of maps of height 1."""
    name = op.split(".")[-1]
    return name.replace("2d", "1d") if axes == 1 and "pool" in name else name


def _runs_along_the_input(c: Context, x: Value, axes: int) -> bool:
    """Whether an operation on the last `axes` dimensions runs along the spatial axes of the input, and no others.

    PyTorch runs pools of sequences as those of maps of height 1, where the height is none of the input's axes.
    """
    more = axes - c.record.ndim
    if not more:
        return True
    ones = (x.shape[-axes : -axes + more], c.out.shape[-axes : -axes + more])
    return more > 0 and all(n == 1 for shape in ones for n in shape)


def _note_other_axes(c: Context, x: Value, axes: int, kernel: Size = (), stride: Size = ()) -> None:
    """Note an operation that resizes the last `axes` dimensions, which are not the spatial axes of the input."""
    none, kind = (None,) * axes, c.node.op.split(".")[-1]
    place, sizes = (c.node.index, kind, c.node.path, c.node.call), (x.shape[-axes:], c.out.shape[-axes:])
    c.axes.of_other_axes.append(Resize(*place, none, none, *sizes, kernel, stride))


def window(c: Context, p: kinds.Window) -> Dims:
    own, n = c.dims(p.x), len(p.kernel)
    channel = len(own) - n - 1
    if p.weight is not None:
        c.pin((own[channel],), "convolved with weights for that many channels")
    if not _runs_along_the_input(c, p.x, n):
        dims = [*own[:channel], *c.all_unrelated()[channel:]]
        if set(p.stride) != {1}:
            _note_other_axes(c, p.x, n, p.kernel, p.stride)
        if n < c.record.ndim and set(p.stride) == {1} and not p.transposed:
            dims[-n:] = [_moved(c, own[i], i) for i in range(-n, 0)]
    elif p.transposed:
        dims = list(_spatial(c, p.x, {"kernel": p.kernel, "stride": p.stride, "scale": p.stride}))
    elif set(p.stride[-c.record.ndim :]) == {1} and not c.record.every_window:
        dims = list(_spatial(c, p.x, None))
    else:
        names = ("kernel", "stride", "padding", "dilation", "ceil_mode")
        dims = list(_spatial(c, p.x, {name: getattr(p, name) for name in names}))
    if channel >= 0:
        dims[channel] = own[channel] if p.weight is None else c.unrelated(channel)
    return tuple(dims)


def unpool(c: Context, p: kinds.Unpool) -> Dims:
    """A map of the size that the model's code gives; the indices of the pool hold at no other."""
    own, n = c.dims(p.x), len(p.kernel)
    c.pin(own[-n:], "unpooled by indices")
    return (*own[:-n], *c.all_unrelated()[-n:])


def resample(c: Context, p: kinds.Resample) -> Dims:
    if not _runs_along_the_input(c, p.x, p.ndim):
        if p.scales is not None:
            _note_other_axes(c, p.x, p.ndim)
        return (*c.dims(p.x)[: -p.ndim], *c.all_unrelated()[-p.ndim :])
    if p.method in ("max", "mean", "sample"):
        return _spatial(c, p.x, {})
    if p.scales is not None:
        return _spatial(c, p.x, {"scale": p.scales})
    # the model's code says how large the output is: a fixed number, or a size it computed from other sizes
    varies = any(c.unrelated(i).axes for i in range(-c.record.ndim, 0))
    return _spatial(c, p.x, {"given": True} if varies else {"fixed": True})


def resizer(c: Context, p: kinds.Resizer) -> Dims:
    return _spatial(c, p.maps[0], {})


def regroup(c: Context, p: kinds.Regroup) -> Dims:
    """Rule of shuffles: multiplies height and width by a constant and divides the channels, or the reverse."""
    own = c.dims(p.x)
    if p.ratio == 1:
        return own
    dims = list(c.all_unrelated())
    dims[:-3] = own[:-3]
    for i in (-2, -1):
        before = c.single(own[i])
        if before.axis is not None:
            dims[i] = Dim((Atom(c.out.shape[i], c.times(before.atoms[0], p.ratio), c.other(i)),))
    return tuple(dims)


def patches(c: Context, p: kinds.Patches) -> Dims:
    """The positions of a sliding window, flattened, and its pixels as channels."""
    own = c.dims(p.x)
    out: list[Dim] = []
    for i in (0, 1):
        before, window = c.single(own[i - 2]), (p.kernel[i], p.stride[i], p.padding[i], p.dilation[i])
        n = window_output_size(before.size, *window)
        other = None if before.other is None else window_output_size(before.other, *window)
        if before.axis is None or n == 1:
            out.append(Dim((Atom(n, None, other),)) if n != 1 else Dim())
        elif p.stride[i] == 1:
            out.append(Dim((Atom(n, before.axis, other),)))
        else:
            offset = Fraction(n * p.stride[i], before.size) > 1
            axis = c.classes.scaled(before.axis, Fraction(1, p.stride[i]), n, up=offset)
            out.append(Dim((Atom(n, axis, other),)))
    return (*own[:-3], c.unrelated(-2), Dim((*out[0].atoms, *out[1].atoms)))


def fold(c: Context, p: kinds.Fold) -> Dims:
    """A map whose size is set by the model's code."""
    return (*c.dims(p.x)[:-2], *c.all_unrelated()[-3:])
