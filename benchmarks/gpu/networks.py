"""The maps that a converted network pools, found without running it: its pass on tensors without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import dynpool
from benchmarks.gpu.maps import Map

__all__ = ["placed", "pooled_maps"]


def placed(
    model: nn.Module,
    device: str,
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.channels_last,
) -> nn.Module:
    """The network on this device, its weights in this dtype (but for alphas) and layout."""
    return model.to(device, dtype).to(memory_format=layout)


def pooled_maps(
    model: nn.Module, shape: Sequence[int], dtype: torch.dtype, layout: torch.memory_format = torch.channels_last
) -> list[Map]:
    """What the resizers of a network are given in a pass of images (N, C, H, W) in this dtype and layout.

    The network loses its values on the way: it is moved to the device "meta".
    """
    found: list[Map] = []

    def note(module: nn.Module, given: tuple[Any, ...], y: Tensor) -> None:
        x = given[0]
        n, c, h, w = x.shape
        # convolutions keep the layout of their images on every device but "meta"
        strides = "channels_last" if layout == torch.channels_last else "contiguous"
        found.append(Map((n, c, h, w), (y.shape[2], y.shape[3]), x.dtype, strides, getattr(module, "reduce", "max")))

    model = placed(model, "meta", dtype, layout)
    pools = [module for module in model.modules() if isinstance(module, dynpool.DynOPool2d)]
    hooks = [pool.register_forward_hook(note) for pool in pools]
    try:
        with torch.no_grad():
            model(torch.empty(tuple(shape), dtype=dtype, device="meta").contiguous(memory_format=layout))
    finally:
        for hook in hooks:
            hook.remove()
    return found
