"""What the bodies of the operator agree on: memory formats and the precision of sums."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["accumulator", "memory_format"]


def memory_format(x: Tensor) -> torch.memory_format:
    """The format in which results for x are laid out: channels_last if x is, also as a slice of such a tensor."""
    if not x.is_contiguous() and x.shape[1] > 1 and x.stride(1) == 1:
        return torch.channels_last
    return torch.contiguous_format


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype that values of ``dtype`` are added up in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
