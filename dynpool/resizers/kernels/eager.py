"""The operator without Triton: on a CPU :mod:`.native`, or :mod:`.cpu` without a C compiler, where they fit, and
:mod:`.reference` everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from . import cpu, reference
from .layout import channels_last as last
from .layout import memory_format
from .native import launch as native

__all__ = ["backward", "forward"]


def forward(x: Tensor, size: Sequence[int], reduce: str, keep_winner: bool) -> tuple[Tensor, Tensor]:
    """The pooled map (N, C, H_out, W_out) and the winning queries, laid out as x, in memory of their own.

    Maps of three axes have a depth before the height. Nothing is checked here: :mod:`dynpool.resizers.functional` has.

    Args:
        x: (N, C, H, W).
        size: (H_out, W_out) in pixels.
        reduce: "max", "mean" or "sample".
        keep_winner: whether the winners of "max" are wanted, as :func:`backward` needs them.

    Returns:
        The map in the dtype of x; and of the same shape, uint8, the winners as :func:`.reference.forward` counts
        them, or an empty tensor if they are not wanted or there are none.
    """
    fast = _fast(x, x.shape[2:], size)
    if fast is not None:
        y, winner = fast.forward(x, size, reduce, keep_winner=keep_winner)
    else:
        y, winner = reference.forward(x, size, reduce)
    layout = memory_format(x)
    winner = winner.contiguous(memory_format=layout) if keep_winner and reduce == "max" else winner.new_empty(0)
    return _own(y.contiguous(memory_format=layout), x), winner


def backward(
    dy: Tensor,
    x: Tensor | None,
    alpha: Tensor | None,
    winner: Tensor,
    size_in: Sequence[int],
    reduce: str,
    need_x: bool,
    channels_last: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients to x (N, C, H, W), where wanted, and to alpha, where x and alpha are given.

    Args:
        dy: (N, C, H_out, W_out), the gradient to the pooled map.
        x: as it was pooled; None: no gradient to alpha is wanted.
        alpha: (2,), or (3,), one for each axis, in any floating dtype; None as x.
        winner: second result of :func:`forward`; not read unless ``reduce`` is "max".
        size_in: (H, W) in pixels.
        reduce: as in the forward pass.
        need_x: whether the gradient to x is wanted.
        channels_last: the layout of the gradient to x.
    """
    size = dy.shape[2:]
    fast = _fast(dy, size_in, size)
    if fast is not None:
        dx, spread = fast.backward(dy, x, winner, size_in, reduce, need_x, channels_last)
    else:
        dx, spread = reference.backward(dy, x, winner, size_in, reduce, need_x)
    if dx is not None:
        layout = last(len(size)) if channels_last else torch.contiguous_format
        dx = _own(dx.contiguous(memory_format=layout), dy)
    if spread is None or alpha is None:
        return dx, None
    quarters = [(pixels / cells) ** 2 / 4 for pixels, cells in zip(size_in, size, strict=True)]
    slopes = spread * torch.tensor(quarters, dtype=spread.dtype, device=spread.device)
    return dx, (slopes / alpha.to(spread.dtype).square()).to(alpha.dtype)


def _fast(x: Tensor, pixels: Sequence[int], cells: Sequence[int]) -> ModuleType | None:
    """The fastest implementation for maps of so many pixels and cells, with values as in x; None: the reference."""
    return next((each for each in (native, cpu) if each.handles(x, pixels, cells)), None)


def _own(result: Tensor, given: Tensor) -> Tensor:
    """The result in memory of its own: an operator must not return its input, nor a view, which in-place operations
    behind it would refuse to write to.
    """
    if result.untyped_storage().data_ptr() == given.untyped_storage().data_ptr() and result.numel() > 0:
        return result.clone()
    return result.data if result._is_view() else result
