"""A slow, direct implementation of the Shape Adaptor, pixel by pixel in float64."""

import math

import torch
from torch import Tensor

__all__ = ["Size", "mixed", "pooled", "resized", "restated", "taps"]

Size = tuple[int, int]


def taps(size_in: int, size_out: int, align_corners: bool) -> list[list[tuple[int, float]]]:
    """For each output pixel, the input pixels and their weights."""
    if align_corners and size_out == 1:
        return [[(i, 1 / size_in) for i in range(size_in)]]
    found = []
    for i in range(size_out):
        u = i * (size_in - 1) / (size_out - 1) if align_corners else (i + 0.5) * size_in / size_out - 0.5
        u = min(max(u, 0.0), size_in - 1.0)
        low = min(math.floor(u), size_in - 1)
        found.append([(low, 1 - (u - low)), (min(low + 1, size_in - 1), u - low)])
    return found


def resized(rows: list[list[float]], size: Size, align_corners: bool) -> list[list[float]]:
    if (len(rows), len(rows[0])) == size:
        return rows
    vertical = taps(len(rows), size[0], align_corners)
    horizontal = taps(len(rows[0]), size[1], align_corners)
    return [[sum(a * b * rows[i][k] for i, a in column for k, b in row) for row in horizontal] for column in vertical]


def pooled(rows: list[list[float]], reduce: str, kernel: Size) -> list[list[float]]:
    h, w = min(kernel[0], len(rows)), min(kernel[1], len(rows[0]))
    if reduce == "sample":
        return [row[::w] for row in rows[::h]]
    fold = max if reduce == "max" else lambda values: sum(values) / len(values)
    return [
        [fold([rows[h * i + a][w * k + b] for a in range(h) for b in range(w)]) for k in range(len(rows[0]) // w)]
        for i in range(len(rows) // h)
    ]


def restated(x: Tensor, alpha: float, size: Size, reduce: str, align_corners: bool, kernel: Size = (2, 2)) -> Tensor:
    """(1 - w) * resize(pool(x)) + w * resize(x), w = sigmoid(alpha)."""
    return mixed(x, 1 / (1 + math.exp(-alpha)), size, reduce, align_corners, kernel)


def mixed(x: Tensor, w: float, size: Size, reduce: str, align_corners: bool, kernel: Size = (2, 2)) -> Tensor:
    """The same for the weight itself."""
    maps = []
    for plane in x.double().flatten(0, 1).tolist():
        low = torch.tensor(resized(pooled(plane, reduce, kernel), size, align_corners), dtype=torch.float64)
        keep = torch.tensor(resized(plane, size, align_corners), dtype=torch.float64)
        maps.append((1 - w) * low + w * keep)
    return torch.stack(maps).unflatten(0, x.shape[:2])
