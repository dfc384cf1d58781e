"""The format and names of the alphas in the state dict of a frozen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dynpool.size_math import PerAxis

__all__ = ["ENTRY", "FROZEN_ALPHAS", "from_bits", "frozen_bits", "to_bits"]

ENTRY = "dynpool"  # of the metadata of a converted or frozen module in a state dict
FROZEN_ALPHAS = "frozen_sizes"  # buffer of a frozen model


def frozen_bits(state_dict: Mapping[str, Any], prefix: str, metadata: Mapping[str, Any]) -> Tensor | None:
    """The alphas in a frozen model's part of a state dict, or None."""
    if prefix + FROZEN_ALPHAS in state_dict:
        bits: Tensor = state_dict[prefix + FROZEN_ALPHAS]
        return bits
    alphas = metadata.get(ENTRY, {}).get("alphas")
    return None if alphas is None else to_bits(alphas)


def to_bits(values: Sequence[PerAxis]) -> Tensor:
    """Alphas as an int32 tensor (n, axes) of their float32 bits, which casting a model does not change."""
    return torch.tensor(values, dtype=torch.float32).reshape(len(values), -1).view(torch.int32)


def from_bits(bits: Tensor) -> Tensor:
    """The inverse of :func:`to_bits`: alphas (n, axes), float32."""
    return bits.detach().cpu().contiguous().view(torch.float32)
