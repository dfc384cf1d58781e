"""Rules of sliding windows and resampling: convolutions, pools, interpolation, the resizers of this library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dynpool.graph import primitives as kinds
from dynpool.size_math import query_grid, sample_grid

from ..positions import Field, Taps, Term
from ..propagate import Call
from ..steps import Resized, Window, input_step

__all__ = ["resample", "resizer", "unpool", "window"]

Index = NDArray[np.intp]


# --- which positions a window reads -----------------------------------------------------------------------------------


def sliding_index(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Index:
    """Positions (outputs, kernel) read by a window that slides over `size` positions; -1 in the padding."""
    index = np.arange(outputs)[:, None] * stride - padding + np.arange(kernel)[None, :] * dilation
    return np.where((index >= 0) & (index < size), index, -1)


def transposed_index(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Index:
    """Positions (outputs, kernel) from which a transposed convolution scatters to each output; -1 for none."""
    at = np.arange(outputs)[:, None] + padding - np.arange(kernel)[None, :] * dilation
    source = at // stride
    return np.where((at % stride == 0) & (source >= 0) & (source < size), source, -1)


def cells_index(starts: Sequence[int], stops: Sequence[int]) -> Index:
    """Positions (outputs, widest cell) of cells [start, stop); -1 beyond their stop."""
    width = max(b - a for a, b in zip(starts, stops, strict=True))
    index = np.asarray(starts)[:, None] + np.arange(width)[None, :]
    return np.where(index < np.asarray(stops)[:, None], index, -1)


def sliding(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Taps:
    span = (kernel - 1) * dilation + 1
    window = Window(span, float(stride), (span - 1) / 2 - padding)
    return Taps(outputs, window, partial(sliding_index, size, outputs, kernel, stride, padding, dilation))


def transposed(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """The windows of a transposed convolution: an output pixel sees at most ceil(kernel / stride) input pixels."""
    span = (kernel - 1) * dilation + 1
    window = Window(math.ceil(span / stride), 1 / stride, (padding - (span - 1) / 2) / stride)
    return Taps(outputs, window, partial(transposed_index, size, outputs, kernel, stride, padding, dilation))


# --- convolutions and pools -------------------------------------------------------------------------------------------


def window(c: Call, p: kinds.Window) -> Field:
    own = c.terms(p.x)
    if not own:
        return c.everything()
    n = len(p.kernel)
    slide = transposed if p.transposed else sliding
    windows = zip(p.x.shape[-n:], c.out_shape[-n:], p.kernel, p.stride, p.padding, p.dilation, strict=True)
    taps = {i - n: slide(*window) for i, window in enumerate(windows)}
    if p.weight is None:
        return layer(c, own, taps)
    mixed = [_channels(c, p, t, len(p.x.shape) - n - 1) for t in own]
    linear = not p.transposed and set(p.stride) == {1} and set(p.padding) == {0} and min(p.kernel) > 1
    whole = [(p.x.id, dim, p.x.shape[dim]) for dim in range(-n, 0)]
    field = layer(c, mixed, taps, whole if linear else ())
    if any(v in c.walk.fields for v in c.node.inputs if v != p.x.id):
        # weights computed from the image see all of it, on a second path
        field = c.domain.join([*field.terms, *c.everything().terms])
    return field


def unpool(c: Call, p: kinds.Unpool) -> Field:
    own = c.terms(p.x)
    if not own:
        return c.everything()
    n = len(p.kernel)
    windows = zip(p.x.shape[-n:], c.out_shape[-n:], p.kernel, p.stride, p.padding, strict=True)
    return layer(c, own, {i - n: transposed(*window, 1) for i, window in enumerate(windows)})


def _channels(c: Call, p: kinds.Window, term: Term, dim: int) -> Term:
    """The term after the channels of each group are combined."""
    if not term.along(dim):
        return term
    groups, shape = p.groups, list(p.x.shape)
    if groups == 1:
        return c.domain.mix(term, [dim])
    split = [*shape[:dim], groups, shape[dim] // groups, *shape[dim + 1 :]]
    mixed = c.domain.mix(term.viewed(shape, split), [dim + 1])
    mixed = mixed.viewed([*split[: dim + 1], 1, *split[dim + 2 :]], [*shape[:dim], groups, *shape[dim + 1 :]])
    return mixed.taken(dim, np.repeat(np.arange(groups), c.out_shape[dim] // groups))


def layer(c: Call, terms: Sequence[Term], taps: dict[int, Taps], whole: Sequence[tuple[int, int, int]] = ()) -> Field:
    """The field after a window over the last dimensions, as a row of the report; `whole` as in `Layer`."""
    rank = len(c.out_shape)
    placed = {dim % rank: tap for dim, tap in taps.items()}
    make = c.walk.layer
    return c.domain.window(terms, placed, None if make is None else lambda: make(c, whole))


# --- resampling -------------------------------------------------------------------------------------------------------


def resample(c: Call, p: kinds.Resample) -> Field:
    if not c.terms(p.x):
        return c.everything()
    if p.method == "adaptive":
        return _adaptive(c, p)
    if p.method == "fractional":
        taps = [_fractional(*sizes, k) for sizes, k in zip(_sizes(c, p), p.kernel, strict=True)]
    elif p.method in ("max", "mean", "sample"):
        taps = [_queries(c, p, i, *sizes) for i, sizes in enumerate(_sizes(c, p), -p.ndim)]
    else:
        factors = p.scales or (None,) * p.ndim
        make = _antialiased if p.method.endswith("-antialiased") else _interpolation
        axes = enumerate(zip(_sizes(c, p), factors, strict=True), -p.ndim)
        taps = [make(c, p, i, *sizes, f) for i, (sizes, f) in axes]
    return layer(c, c.terms(p.x), {i - p.ndim: tap for i, tap in enumerate(taps)})


def _sizes(c: Call, p: kinds.Resample) -> list[tuple[int, int]]:
    """Input and output size of each axis."""
    return list(zip(p.x.shape[-p.ndim :], c.out_shape[-p.ndim :], strict=True))


def _fractional(size: int, out: int, kernel: int) -> Taps:
    """The windows of fractional pooling: cells start at random, so each is the hull of its possible positions."""
    ratio = Fraction(size - kernel, out - 1) if out > 1 else Fraction(size)
    starts = [math.floor(j * ratio) for j in range(out - 1)] + [size - kernel]
    stops = [min(math.ceil(j * ratio) + kernel, size) for j in range(out - 1)] + [size]
    window = Window(kernel + (ratio.denominator > 1), float(ratio), (kernel - 1) / 2)
    return Taps(out, window, partial(cells_index, starts, stops))


def _adaptive(c: Call, p: kinds.Resample) -> Field:
    """Rule of adaptive pooling: cells of the map, not a layer; a single cell is global."""
    terms = c.terms(p.x)
    for dim, (size, out) in enumerate(_sizes(c, p), len(c.out_shape) - p.ndim):
        starts, stops = [j * size // out for j in range(out)], [-(-(j + 1) * size // out) for j in range(out)]
        if out == 1:
            terms = tuple(c.domain.mix(t, [dim]) for t in terms)
        elif size != out:
            widest = max(b - a for a, b in zip(starts, stops, strict=True))
            window = Window(widest, size / out, (size / out - 1) / 2)
            terms = c.domain.window(terms, {dim: Taps(out, window, partial(cells_index, starts, stops))}).terms
    return c.domain.join(terms)


def _interpolation(c: Call, p: kinds.Resample, axis: int, size: int, out: int, factor: float | None) -> Taps:
    points, reads = _READS[p.method]
    corners = points > 1 and p.align_corners
    copies = p.method in ("nearest", "linear")  # as PyTorch does
    resized = Resized(c.node.index, p.x.id, axis, size, out, points, "", corners, factor, copies)
    reads_at = partial(reads, size, out, input_step(size, out, factor, copies), corners)
    return Taps(out, resized.at_tracing(), reads_at, resized)


def _antialiased(c: Call, p: kinds.Resample, axis: int, size: int, out: int, factor: float | None) -> Taps:
    """The windows of antialiased interpolation: when it shrinks, it reads all positions within a few output steps."""
    ratio = input_step(size, out, factor, copies=False)
    width = (1 if p.method.startswith("linear") else 2) * max(ratio, Fraction(1))
    at = _source(size, out, ratio, p.align_corners)
    starts = [min(max(math.floor(u - width) + 1, 0), size - 1) for u in at]
    stops = [max(min(math.ceil(u + width), size), start + 1) for u, start in zip(at, starts, strict=True)]
    widest = max(b - a for a, b in zip(starts, stops, strict=True))
    window = Window(widest, float(ratio), float((ratio - 1) / 2)) if size != out else Window()
    return Taps(out, window, partial(cells_index, starts, stops))


def _source(size: int, out: int, ratio: Fraction, corners: bool) -> list[Fraction]:
    """The positions of outputs in input coordinates, clamped to the map."""
    if corners:
        return [Fraction(q * (size - 1), max(out - 1, 1)) for q in range(out)]
    return [(q + Fraction(1, 2)) * ratio - Fraction(1, 2) for q in range(out)]


def _nearest_reads(size: int, out: int, ratio: Fraction, corners: bool) -> Index:
    at = np.arange(out, dtype=np.float32) * np.float32(ratio)  # as PyTorch does, whatever the dtype of the map
    return np.minimum(np.floor(at).astype(np.int64), size - 1)[:, None]


def _nearest_exact_reads(size: int, out: int, ratio: Fraction, corners: bool) -> Index:
    at = ((np.arange(out) + 0.5) * np.float64(np.float32(ratio))).astype(np.float32)
    return np.minimum(np.floor(at).astype(np.int64), size - 1)[:, None]


def _linear_reads(size: int, out: int, ratio: Fraction, corners: bool) -> Index:
    found = []
    for u in _source(size, out, ratio, corners):
        u = min(max(u, Fraction(0)), Fraction(size - 1))
        found.append([math.floor(u), math.ceil(u)])
    return np.asarray(found)


def _cubic_reads(size: int, out: int, ratio: Fraction, corners: bool) -> Index:
    found = []
    for u in _source(size, out, ratio, corners):
        around = range(math.floor(u) - 1, math.floor(u) + 3) if u.denominator > 1 else [u.numerator] * 4
        found.append([min(max(i, 0), size - 1) for i in around])
    return np.asarray(found)


_READS: Mapping[str, tuple[int, Callable[[int, int, Fraction, bool], Index]]] = MappingProxyType(
    {
        "nearest": (1, _nearest_reads),
        "nearest-exact": (1, _nearest_exact_reads),
        "linear": (2, _linear_reads),
        "cubic": (4, _cubic_reads),
    }
)


# --- the library's own resizer ----------------------------------------------------------------------------------------


def _queries(c: Call, p: kinds.Resample, axis: int, size: int, out: int) -> Taps:
    resized = Resized(c.node.index, p.x.id, axis, size, out, reduce=p.method)
    return Taps(out, resized.at_tracing(), partial(_query_reads, size, out, p.method), resized)


def resizer(c: Call, p: kinds.Resizer) -> Field:
    """Rule of a learned resizer of several operations, whose pixels are known only from its footprint."""
    found: list[Term] = []
    for x in p.maps:
        if not c.terms(x):
            continue
        taps = {}
        axes = 2 if c.node.resizer is None else c.node.resizer.axes
        for i in range(-axes, 0):
            size, out = x.shape[i], c.out_shape[i]
            resized = Resized(c.node.index, x.id, i, size, out, resizer=c.node.resizer)
            window = resized.at_tracing()
            taps[i] = Taps(out, window, partial(footprint_index, window, size, out), resized)
        found += layer(c, c.terms(x), taps).terms
    return c.domain.join(found)


def footprint_index(window: Window, size: int, outputs: int) -> Index:
    """Positions (outputs, reads) within half a window of its centre."""
    reach = min(float(window.kernel), 2.0 * size) / 2
    middles = [window.offset + q * window.stride for q in range(outputs)]
    starts = [min(max(math.ceil(m - reach), 0), size - 1) for m in middles]
    return cells_index(
        starts, [max(min(math.floor(m + reach) + 1, size), a + 1) for m, a in zip(middles, starts, strict=True)]
    )


def _query_reads(size: int, out: int, reduce: str) -> Index:
    floors, remainders, _ = sample_grid(size, out) if reduce == "sample" else query_grid(size, out)
    ends = [(f, f + (r > 0)) for f, r in zip(floors, remainders, strict=True)]
    cells = [(e, e) for e in ends] if reduce == "sample" else list(zip(ends[::2], ends[1::2], strict=True))
    reads = [[*a, *b] for a, b in cells]
    return np.asarray([[min(max(i, 0), size - 1) for i in row] for row in reads])
