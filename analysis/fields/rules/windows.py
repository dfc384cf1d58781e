"""Rules of the operations that slide a window: convolutions, pools, interpolation, the resizers of this library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynpool.size_math import query_grid, sample_grid

from ..positions import Field, Taps, Term
from ..propagate import Call, Rule
from ..steps import Resized, Window, interpolated

__all__ = ["WINDOW_RULES", "col2im", "im2col"]

Index = NDArray[np.intp]
Ints = tuple[int, ...]


def per_axis(value: Any, n: int, default: int = 1) -> Ints:
    """An argument of one int, or one an axis, as one an axis."""
    items = [default] if value is None or value == [] else [value] if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (items * n if len(items) == 1 else items))


# --- which positions a window reads -----------------------------------------------------------------------------------


def sliding_index(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Index:
    """Positions as (outputs, kernel) of a window that slides over `size` positions; -1 in the padding."""
    index = np.arange(outputs)[:, None] * stride - padding + np.arange(kernel)[None, :] * dilation
    return np.where((index >= 0) & (index < size), index, -1)


def transposed_index(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Index:
    """Positions as (outputs, kernel) that a transposed convolution scatters to each output from; -1 for none."""
    at = np.arange(outputs)[:, None] + padding - np.arange(kernel)[None, :] * dilation
    source = at // stride
    return np.where((at % stride == 0) & (source >= 0) & (source < size), source, -1)


def cells_index(starts: Sequence[int], stops: Sequence[int]) -> Index:
    """Positions as (outputs, widest cell) of cells [start, stop); -1 beyond their stop."""
    width = max(b - a for a, b in zip(starts, stops, strict=True))
    index = np.asarray(starts)[:, None] + np.arange(width)[None, :]
    return np.where(index < np.asarray(stops)[:, None], index, -1)


def sliding(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Taps:
    span = (kernel - 1) * dilation + 1
    window = Window(span, float(stride), (span - 1) / 2 - padding)
    return Taps(outputs, window, partial(sliding_index, size, outputs, kernel, stride, padding, dilation))


def transposed(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """A pixel of the output sees at most ceil(kernel / stride) of the input."""
    span = (kernel - 1) * dilation + 1
    window = Window(math.ceil(span / stride), 1 / stride, (padding - (span - 1) / 2) / stride)
    return Taps(outputs, window, partial(transposed_index, size, outputs, kernel, stride, padding, dilation))


# --- convolutions and pools -------------------------------------------------------------------------------------------


def _convolution(c: Call) -> Field:
    x, weight = c.node.args[0], c.node.args[1]
    own = c.terms(x)
    if not own:
        return c.everything()
    n = len(c.shape(weight)) - 2
    kernel = c.shape(weight)[2:]
    stride, padding, dilation = (per_axis(c.node.args[i], n) for i in (3, 4, 5))
    turned, groups = bool(c.node.args[6]), c.node.args[8]
    sizes, outputs = c.shape(x)[-n:], c.out_shape[-n:]
    slide = transposed if turned else sliding
    windows = zip(sizes, outputs, kernel, stride, padding, dilation, strict=True)
    taps = {i - n: slide(*window) for i, window in enumerate(windows)}
    rank = len(c.shape(x))
    mixed = [_channels(c, t, rank - n - 1, groups, c.out_shape[-n - 1]) for t in own]
    linear = not turned and set(stride) == {1} and set(padding) == {0} and min(kernel) > 1
    field = layer(c, mixed, taps, whole=range(-n, 0) if linear else ())
    others = [v for v in c.node.inputs[1:] if v in c.walk.fields]
    if others:  # a weight made from the image sees all of it, on a second path
        field = c.domain.join([*field.terms, *c.everything().terms])
    return field


def _channels(c: Call, term: Term, dim: int, groups: int, outputs: int) -> Term:
    """The term after the channels of each group are combined."""
    if not term.along(dim):
        return term
    if groups == 1:
        return c.domain.mix(term, [dim])
    shape = list(c.shape(c.node.args[0]))
    split = [*shape[:dim], groups, shape[dim] // groups, *shape[dim + 1 :]]
    mixed = c.domain.mix(term.viewed(shape, split), [dim + 1])
    mixed = mixed.viewed([*split[: dim + 1], 1, *split[dim + 2 :]], [*shape[:dim], groups, *shape[dim + 1 :]])
    return mixed.taken(dim, np.repeat(np.arange(groups), outputs // groups))


def layer(c: Call, terms: Sequence[Term], taps: dict[int, Taps], whole: Sequence[int] = ()) -> Field:
    """The field after a window slides over the last dimensions, as a row of the report."""
    rank = len(c.out_shape)
    placed = {dim % rank: tap for dim, tap in taps.items()}
    make = c.walk.layer
    return c.domain.window(terms, placed, None if make is None else lambda: make(c, [dim % rank for dim in whole]))


def _pool(n: int, padding: int = 3, dilation: int | None = None) -> Rule:
    def rule(c: Call) -> Field:
        x = c.node.args[0]
        kernel = per_axis(c.node.args[1], n)
        stride = per_axis(c.arg(2) or list(kernel), n)
        pads, dilations = per_axis(c.arg(padding), n, 0), per_axis(c.arg(dilation) if dilation else 1, n)
        sizes, outputs = c.shape(x)[-n:], c.out_shape[-n:]
        windows = zip(sizes, outputs, kernel, stride, pads, dilations, strict=True)
        return layer(c, c.terms(x), {i - n: sliding(*window) for i, window in enumerate(windows)})

    return rule


def _fractional_pool(n: int) -> Rule:
    def rule(c: Call) -> Field:
        """Cells begin at random, one position more or less: a cell is all that it can be."""
        x = c.node.args[0]
        kernel, sizes, outputs = per_axis(c.node.args[1], n), c.shape(x)[-n:], c.out_shape[-n:]
        taps = {}
        for i, (k, size, out) in enumerate(zip(kernel, sizes, outputs, strict=True)):
            ratio = Fraction(size - k, out - 1) if out > 1 else Fraction(size)
            starts = [math.floor(j * ratio) for j in range(out - 1)] + [size - k]
            stops = [min(math.ceil(j * ratio) + k, size) for j in range(out - 1)] + [size]
            window = Window(k + (ratio.denominator > 1), float(ratio), (k - 1) / 2)
            taps[i - n] = Taps(out, window, partial(cells_index, starts, stops))
        return layer(c, c.terms(x), taps)

    return rule


def _adaptive_pool(n: int) -> Rule:
    def rule(c: Call) -> Field:
        """Cells of the map, no layer; one cell alone is global."""
        x = c.node.args[0]
        terms = c.terms(x)
        rank = len(c.out_shape)
        for i in range(-n, 0):
            size, out = c.shape(x)[i], c.out_shape[i]
            starts, stops = [j * size // out for j in range(out)], [-(-(j + 1) * size // out) for j in range(out)]
            if out == 1:
                terms = tuple(c.domain.mix(t, [i % rank]) for t in terms)
            elif size != out:
                window = Window(
                    max(b - a for a, b in zip(starts, stops, strict=True)), size / out, (size / out - 1) / 2
                )
                taps = Taps(out, window, partial(cells_index, starts, stops))
                terms = c.domain.window(terms, {i % rank: taps}).terms
        return c.domain.join(terms)

    return rule


# --- interpolation ----------------------------------------------------------------------------------------------------


def _ratios(c: Call, n: int) -> list[Fraction]:
    """Input positions per output position: of the sizes, or of the scale factors that were asked for."""
    factors: list[float | None] = [None] * n
    given = [a for a in (*c.node.args[2:], *c.node.kwargs.values()) if not isinstance(a, bool) and a is not None]
    if given:
        flat = [f for a in given for f in (a if isinstance(a, (list, tuple)) else [a])]
        factors = [float(f) for f in flat] if len(flat) == n else factors
    sizes, outputs = c.shape(c.node.args[0])[-n:], c.out_shape[-n:]
    return [
        1 / Fraction(f) if f is not None and f > 0 else Fraction(size, out)
        for f, size, out in zip(factors, sizes, outputs, strict=True)
    ]


def _upsample(n: int, points: int, reads: Callable[[int, int, Fraction, bool], Index]) -> Rule:
    def rule(c: Call) -> Field:
        x = c.node.args[0]
        corners = points > 1 and bool(c.arg(2, "align_corners", False))
        sizes, outputs = c.shape(x)[-n:], c.out_shape[-n:]
        resize = c.walk.resizes.get(c.node.index)
        taps = {}
        for i, (size, out, ratio) in enumerate(zip(sizes, outputs, _ratios(c, n), strict=True)):
            kind = Resized(resize, i, points, "", corners) if resize is not None else None
            window = interpolated(size, out, points, corners)
            taps[i - n] = Taps(out, window, partial(reads, size, out, ratio, corners), kind)
        return layer(c, c.terms(x), taps)

    return rule


def _source(size: int, out: int, ratio: Fraction, corners: bool) -> list[Fraction]:
    """Where outputs lie among the input's positions, clamped to them."""
    if corners:
        return [Fraction(q * (size - 1), max(out - 1, 1)) for q in range(out)]
    return [(q + Fraction(1, 2)) * ratio - Fraction(1, 2) for q in range(out)]


def _nearest_reads(size: int, out: int, ratio: Fraction, corners: bool) -> Index:
    return np.asarray([[min(math.floor(q * ratio), size - 1)] for q in range(out)])


def _nearest_exact_reads(size: int, out: int, ratio: Fraction, corners: bool) -> Index:
    return np.asarray([[min(math.floor((q + Fraction(1, 2)) * ratio), size - 1)] for q in range(out)])


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


def _antialiased(reach: int) -> Rule:
    """Interpolation that, where it shrinks, reads all positions nearer than `reach` of the output's steps."""

    def rule(c: Call) -> Field:
        taps = {}
        for i, ratio in zip((-2, -1), _ratios(c, 2), strict=True):
            size, out = c.shape(c.node.args[0])[i], c.out_shape[i]
            width = reach * max(ratio, Fraction(1))
            at = _source(size, out, ratio, bool(c.arg(2, "align_corners", False)))
            starts = [min(max(math.floor(u - width) + 1, 0), size - 1) for u in at]
            stops = [max(min(math.ceil(u + width), size), start + 1) for u, start in zip(at, starts, strict=True)]
            index = cells_index(starts, stops)
            window = Window(index.shape[1], float(ratio), float((ratio - 1) / 2)) if size != out else Window()
            taps[i] = Taps(out, window, partial(cells_index, starts, stops))
        return layer(c, c.terms(c.node.args[0]), taps)

    return rule


# --- the library's own resizer ----------------------------------------------------------------------------------------


def _dynopool(c: Call) -> Field:
    x, reduce = c.node.args[0], c.node.args[4]
    if not c.terms(x):
        return c.everything()
    taps = {}
    for i in (0, 1):
        resized = Resized(c.walk.resizes[c.node.index], i, 1, reduce)
        size, out = c.shape(x)[i - 2], c.out_shape[i - 2]
        taps[i - 2] = Taps(out, resized.at_tracing(), partial(_query_reads, size, out, reduce), resized)
    return layer(c, c.terms(x), taps)


def _resizer(c: Call) -> Field:
    """A learned resizer of several operations: which pixels it reads is known by its footprint alone.

    One that mixes several maps resizes each.
    """
    found: list[Term] = []
    for x in c.node.args:
        if not c.terms(x):
            continue
        h, w = c.walk.graph.values[x.id].dims[-2:]
        resize = replace(c.walk.resizes[c.node.index], source=(h.axis, w.axis), in_size=(h.size, w.size))
        taps = {}
        for i in (0, 1):
            resized = Resized(resize, i, resizer=c.node.resizer)
            window, size, out = resized.at_tracing(), c.shape(x)[i - 2], c.out_shape[i - 2]
            taps[i - 2] = Taps(out, window, partial(footprint_index, window, size, out), resized)
        found += layer(c, c.terms(x), taps).terms
    return c.domain.join(found)


def footprint_index(window: Window, size: int, outputs: int) -> Index:
    """Positions as (outputs, reads) within half a window of its centre."""
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


# --- unfold and fold --------------------------------------------------------------------------------------------------


def im2col(c: Call) -> Field:
    """(N, C, H, W) to (N, C * kernel, windows)."""
    x = c.node.args[0]
    kernel, dilation, padding, stride = (per_axis(c.node.args[i], 2) for i in (1, 2, 3, 4))
    n, channels, *sizes = c.shape(x)
    outputs = _window_counts(sizes, kernel, dilation, padding, stride)
    split = (n, channels, kernel[0], kernel[1], outputs[0], outputs[1])

    def move(term: Term) -> Term:
        for dim, axis in ((2, 0), (3, 1)):
            padded = c.domain.pad(term, dim, sizes[axis], padding[axis], padding[axis]) if padding[axis] else term
            starts, reads = np.arange(outputs[axis]) * stride[axis], np.arange(kernel[axis]) * dilation[axis]
            term = padded.taken(dim, (reads[:, None] + starts[None, :]).ravel())
        rolled = (n, channels, kernel[0] * outputs[0], kernel[1] * outputs[1])
        apart = (n, channels, kernel[0], outputs[0], kernel[1], outputs[1])
        return term.viewed(rolled, apart).permuted((0, 1, 2, 4, 3, 5)).viewed(split, c.out_shape)

    return c.moved(x, move) or c.everything()


def col2im(c: Call) -> Field:
    """(N, C * kernel, windows) to (N, C, H, W): a position sums what all windows over it hold."""
    x = c.node.args[0]
    sizes = per_axis(c.node.args[1], 2)
    kernel, dilation, padding, stride = (per_axis(c.node.args[i], 2) for i in (2, 3, 4, 5))
    outputs = _window_counts(sizes, kernel, dilation, padding, stride)
    n, channels = c.out_shape[:2]
    split = (n, channels, kernel[0], kernel[1], outputs[0], outputs[1])
    rolled = (n, channels, kernel[0] * outputs[0], kernel[1] * outputs[1])

    def move(term: Term) -> Term:
        term = term.viewed(c.shape(x), split).permuted((0, 1, 2, 4, 3, 5))
        term = term.viewed(tuple(split[i] for i in (0, 1, 2, 4, 3, 5)), rolled)
        for dim, axis in ((2, 0), (3, 1)):
            reads: list[list[int]] = [[] for _ in range(sizes[axis])]
            for k in range(kernel[axis]):
                for q in range(outputs[axis]):
                    at = q * stride[axis] - padding[axis] + k * dilation[axis]
                    if 0 <= at < sizes[axis]:
                        reads[at].append(k * outputs[axis] + q)
            width = max(map(len, reads))
            term = c.domain.gather(term, dim, np.asarray([r + [-1] * (width - len(r)) for r in reads]))
        return term

    return c.each(x, move)


def _window_counts(sizes: Sequence[int], kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Ints:
    spans = zip(sizes, kernel, dilation, padding, stride, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in spans)


WINDOW_RULES: dict[str, Rule] = {
    "aten.convolution": _convolution,
    "aten._convolution": _convolution,
    "aten.im2col": im2col,
    "aten.col2im": col2im,
    "dynpool.dynopool2d": _dynopool,
    "dynpool.resizer": _resizer,
}
for _n in (1, 2, 3):
    WINDOW_RULES |= {
        f"aten.max_pool{_n}d": _pool(_n, dilation=4),
        f"aten.max_pool{_n}d_with_indices": _pool(_n, dilation=4),
        f"aten.avg_pool{_n}d": _pool(_n),
        f"aten.adaptive_avg_pool{_n}d": _adaptive_pool(_n),
        f"aten._adaptive_avg_pool{_n}d": _adaptive_pool(_n),
        f"aten.adaptive_max_pool{_n}d": _adaptive_pool(_n),
        f"aten.fractional_max_pool{_n}d": _fractional_pool(_n),
        f"aten.upsample_nearest{_n}d": _upsample(_n, 1, _nearest_reads),
        f"aten._upsample_nearest_exact{_n}d": _upsample(_n, 1, _nearest_exact_reads),
        f"aten.upsample_{('linear', 'bilinear', 'trilinear')[_n - 1]}{_n}d": _upsample(_n, 2, _linear_reads),
    }
WINDOW_RULES |= {
    "aten.upsample_bicubic2d": _upsample(2, 4, _cubic_reads),
    "aten._upsample_bilinear2d_aa": _antialiased(1),
    "aten._upsample_bicubic2d_aa": _antialiased(2),
}
