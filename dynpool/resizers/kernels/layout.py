"""Shared by the operator's implementations: memory formats, the precision of sums, how much fits a CPU's cache."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["accumulator", "channels_last", "memory_format", "planes_in_cache"]

_CACHE_BYTES = 2**20  # of a map in float32, for each thread: with what is computed from it, it stays in the L2 cache


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of results for x, of two or three axes: channels_last if x is, or is a slice of one that is."""
    if not x.is_contiguous() and x.shape[1] > 1 and x.stride(1) == 1:
        return channels_last(x.dim() - 2)
    return torch.contiguous_format


def channels_last(axes: int) -> torch.memory_format:
    """The memory format of maps with channels last that have two or three axes."""
    return torch.channels_last if axes == 2 else torch.channels_last_3d


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype that values of ``dtype`` are added up in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def planes_in_cache(size: Sequence[int]) -> int:
    """How many planes of (height, width) pixels, or volumes, to take at a time on a CPU, at least one."""
    return max(1, torch.get_num_threads() * _CACHE_BYTES // (4 * math.prod(size)))
