"""A slow, direct implementation of spectral pooling: sums over all pixels and frequencies in float64."""

import cmath
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

Map = list[list[complex]]


def clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def threshold(n: int, stride: float, smoothness: float) -> float:
    bound = max(1.0, n / (n - smoothness)) if n > smoothness else 1.0
    return max(n / max(stride, bound), 2) / 2


def dft(values: Sequence[complex], frequency: int) -> complex:
    n = len(values)
    return sum(v * cmath.exp(-2j * math.pi * frequency * i / n) for i, v in enumerate(values))


def part(line: Sequence[complex], v: int, b: int, w: int) -> float:
    """The contribution of column v of a half spectrum to pixel b of w; the first and last columns count once."""
    return (line[v] * cmath.exp(2j * math.pi * v * b / w)).real * (1 if 2 * v % w == 0 else 2)


def published(x: Map, stride: tuple[float, float], smoothness: float) -> list[list[float]]:
    """DiffStride of one map with the published window, cropped to the positive gains."""
    height, width = len(x), len(x[0])
    t_v, t_h = threshold(height, stride[0], smoothness), threshold(width, stride[1], smoothness) + 1
    rows = [(m, m if height % 2 == 0 else min(m + 1, (height - 1) // 2)) for m in range((height + 1) // 2)]
    rows += [(-m, m - 1) for m in range(height // 2, 0, -1)]
    row_gains = [(m, clip(1 + (t_v - d) / smoothness)) for m, d in rows]
    row_gains = [(m, g) for m, g in row_gains if g > 0]
    column_gains = [clip(1 + (t_h - m) / smoothness) for m in range(width // 2 + 1)]
    column_gains = [g for g in column_gains if g > 0]

    def spectrum(u: int, v: int) -> complex:
        return dft([dft(row, v) for row in x], u)

    kept = [[g * c * spectrum(m, v) for v, c in enumerate(column_gains)] for m, g in row_gains]
    h, w = len(kept), max(2 * (len(column_gains) - 1), 1)
    out = []
    for a in range(h):
        line = [
            sum(kept[r][v] * cmath.exp(2j * math.pi * r * a / h) for r in range(h)) / h for v in range(len(kept[0]))
        ]
        out.append([sum(part(line, v, b, w) for v in range(len(line))) / w for b in range(w)])
    return out


def interpolated(values: Sequence[float], out: int | None, stride: float, smoothness: float) -> list[float]:
    """One axis of the symmetric form: the trigonometric interpolant with each frequency times its gain, resampled."""
    n = len(values)
    parts = dict.fromkeys(range(-((n - 1) // 2), (n - 1) // 2 + 1), 1.0)
    if n % 2 == 0:
        parts |= {n // 2: 0.5, -n // 2: 0.5}
    t = threshold(n, stride, smoothness)
    gains = {m: clip(1 + (t - abs(m)) / smoothness) for m in parts}
    if out is None:
        out = min(n, sum(g > 0 for g in gains.values()))
    kept = [m for m in parts if abs(m) <= out // 2]
    terms = [(m, parts[m] * gains[m] * dft(values, m) / out) for m in kept]
    return [sum(c * cmath.exp(2j * math.pi * m * a / out) for m, c in terms).real for a in range(out)]


def symmetric(
    x: list[list[float]], stride: tuple[float, float], smoothness: float, size: tuple[int, int] | None
) -> list[list[float]]:
    h, w = size or (None, None)
    lines = [interpolated(row, w, stride[1], smoothness) for row in x]
    columns = [interpolated(column, h, stride[0], smoothness) for column in zip(*lines, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.fixture
def slow_diffstride() -> Callable[..., Tensor]:
    """DiffStride of a (H, W) map in float64 by explicit sums."""

    def run(
        x: Tensor,
        stride: tuple[float, float],
        smoothness: float = 4.0,
        *,
        is_symmetric: bool = False,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        rows = x.double().tolist()
        out = symmetric(rows, stride, smoothness, size) if is_symmetric else published(rows, stride, smoothness)
        return torch.tensor(out, dtype=torch.float64)

    return run
