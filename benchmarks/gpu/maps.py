"""Maps that the kernels are given, as data: what is verified, and what has to be compiled for a part."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dynpool.size_math import output_size

__all__ = ["Map", "Use", "laid_out", "pooled", "shapes"]

Use = Literal["both", "forward", "alone"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Map:
    """A feature map, its size after pooling, and how it lies in memory.

    Attributes:
        shape: (N, C, H, W).
        size: (H_out, W_out).
        strides: "contiguous", "channels_last", "permuted", "sliced" or "expanded".
        skew: elements by which the map misses the start of an aligned allocation; for maps without gaps.
        uses: "both": forward and both gradients; "forward": without winners; "alone": each gradient by itself.
    """

    shape: tuple[int, int, int, int]
    size: Pair
    dtype: torch.dtype
    strides: str = "contiguous"
    reduce: str = "max"
    skew: int = 0
    uses: tuple[Use, ...] = ("both",)

    def __str__(self) -> str:
        sizes = f"{'x'.join(map(str, self.shape))} -> {'x'.join(map(str, self.size))}"
        skew = f" off by {self.skew}" if self.skew else ""
        return f"{sizes} {str(self.dtype).removeprefix('torch.')} {self.strides}{skew} {self.reduce}"

    def tensors(self, device: str) -> tuple[Tensor, Tensor]:
        """The map and a gradient to what it is pooled to: random, alike on every device; on "meta" without data."""
        found = []
        for seed, shape in enumerate((self.shape, (*self.shape[:2], *self.size))):
            if device == "meta":
                values = torch.empty(shape, dtype=self.dtype, device="meta")
            else:
                generator = torch.Generator().manual_seed(seed)
                values = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, self.dtype)
            found.append(laid_out(values, self.strides))
        x, dy = found
        if self.skew:
            room = x.new_empty(x.numel() + self.skew)
            x = room.as_strided(x.shape, x.stride(), self.skew).copy_(x)
        return x, dy


def laid_out(x: Tensor, strides: str) -> Tensor:
    """A tensor equal to x in other strides; expanded, its first sample for all."""
    match strides:
        case "contiguous":
            return x
        case "channels_last":
            return x.contiguous(memory_format=torch.channels_last)
        case "permuted":
            return x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
        case "sliced":
            n, c, h, w = x.shape
            wide = torch.full((n + 1, c + 2, h + 3, 2 * w), math.nan, dtype=x.dtype, device=x.device)
            wide[1:, 1:-1, 2:-1, ::2] = x
            return wide[1:, 1:-1, 2:-1, ::2]
        case "expanded":
            return x[:1].expand_as(x)
    raise ValueError(f"strides={strides!r}: no such layout")


def pooled(shape: tuple[int, int, int, int], alpha: tuple[float, float]) -> Pair:
    """(H_out, W_out) of a map of this shape at these strides."""
    return output_size(shape[2], alpha[0]), output_size(shape[3], alpha[1])


def shapes(tiny: bool) -> list[Map]:
    """The fixed list that is verified: every layout, dtype, reduction and stride; offsets, empty maps and points.

    Tiny: what Triton interprets in seconds, without bfloat16, which its interpreter rounds otherwise.
    """
    dtypes = (torch.float32,) if tiny else (torch.bfloat16, torch.float32)
    usual = (1, 8, 4, 4) if tiny else (8, 64, 28, 28)
    layouts = ("contiguous", "channels_last")
    alphas = (2.0, 0.8) if tiny else (2.0, 1.7, 1.19, 1.0, 0.8)
    found = [
        Map(usual, pooled(usual, (alpha, alpha)), dtype, strides)
        for alpha in alphas
        for dtype in dtypes
        for strides in layouts
    ]
    main = Map(usual, pooled(usual, (1.7, 1.19)), dtypes[0])
    for strides in layouts:
        found += [replace(main, strides=strides, reduce=reduce) for reduce in ("mean", "sample")]
        found += [replace(main, strides=strides, dtype=dtype) for dtype in (torch.float64, torch.float16)]
        odd = (2, 3, 3, 9)  # no vector, no multiple of a tile
        found.append(Map(odd, pooled(odd, (1.7, 0.8)), dtypes[0], strides))
        point = (2, 5, 1, 1)
        found.append(Map(point, (1, 1), dtypes[0], strides, uses=("both", "alone")))
    odd = (1, 24, 4, 6) if tiny else (4, 24, 30, 22)
    found.append(Map(odd, pooled(odd, (2.0, 2.0)), dtypes[0], "channels_last", skew=1))
    found.append(Map(odd, pooled(odd, (1.7, 1.3)), dtypes[0], skew=1, uses=("both", "alone")))
    small = (2, 3, 3, 6) if tiny else (3, 20, 17, 40)
    found += [Map(small, pooled(small, (1.3, 1.7)), dtypes[0], kind) for kind in ("permuted", "sliced", "expanded")]
    found.append(Map((2, 5, 1, 9), (1, 30), dtypes[0]))  # a sequence, as dynopool1d pools it; many cells over a pixel
    return [*found, Map((0, 3, 4, 4), (2, 2), dtypes[0]), Map((2, 0, 4, 4), (2, 2), dtypes[0])]
