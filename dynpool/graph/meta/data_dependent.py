"""Replacements for operations whose output shape depends on data: each returns the largest possible result.

Which boxes pass a threshold, or which overlap, is not known without data. As many as possible are assumed to pass, so
that everything after them is executed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["STAND_INS", "recurrent_outputs", "with_known_masks"]


def _nonzero(x: Tensor) -> Tensor:
    return x.new_empty((x.numel(), x.ndim), dtype=torch.int64)


def _nonzero_numpy(x: Tensor) -> list[Tensor]:
    return [x.new_empty(x.numel(), dtype=torch.int64) for _ in range(max(x.ndim, 1))]


def _masked_select(x: Tensor, mask: Tensor) -> Tensor:
    return x.new_empty(math.prod(torch.broadcast_shapes(x.shape, mask.shape)))


def _unique(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """One entry, so that a loop over all kinds runs once, not once per box."""
    return x.new_empty(1), x.new_empty(x.shape, dtype=torch.int64), x.new_empty(1, dtype=torch.int64)


def _kept_boxes(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    return boxes.new_empty(len(boxes), dtype=torch.int64)


def _expanded(x: Tensor, size: list[int], implicit: bool = False) -> Tensor:
    """The requested size also for an empty `x`: a slice with unknown limits may be empty where real data are not."""
    return x.new_empty(size) if not x.numel() and 0 not in size else x.expand(size, implicit=implicit)


STAND_INS: dict[str, Callable[..., Any]] = {
    "aten::nonzero": _nonzero,
    "aten::nonzero_numpy": _nonzero_numpy,
    "aten::masked_select": _masked_select,
    "aten::_unique2": _unique,
    "aten::expand": _expanded,
    "torchvision::nms": _kept_boxes,
    "aten::equal": lambda a, b: a.shape == b.shape,
}


def with_known_masks(indices: list[Tensor | None]) -> list[Tensor | None]:
    """The indices of x[indices], with each mask replaced by the indices of all entries."""

    def places() -> Iterator[Tensor | None]:
        for index in indices:
            if index is None or index.dtype not in (torch.bool, torch.uint8):
                yield index
            else:
                yield from (index.new_empty(index.numel(), dtype=torch.int64) for _ in range(index.ndim))

    return list(places())


def recurrent_outputs(module: nn.RNNBase, x: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
    """Empty outputs of an RNN, GRU or LSTM for a padded batch: the sequence, then the last states."""
    ways = 2 if module.bidirectional else 1
    width = module.proj_size or module.hidden_size
    batch = x.shape[0 if module.batch_first else 1]
    out = x.new_empty((*x.shape[:2], ways * width))
    last = x.new_empty((ways * module.num_layers, batch, width))
    if module.mode != "LSTM":
        return out, last
    return out, (last, x.new_empty((ways * module.num_layers, batch, module.hidden_size)))
