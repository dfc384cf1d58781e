"""DynOPool as Triton kernels: one launch forward, two backward, none of them waiting for the host.

Each byte of x, y, winners and their gradients should cross the DRAM bus once, and the arithmetic stay hidden behind
that; in bfloat16 an H200 can issue about 70 instructions for each pixel in the time that the bytes take. So nothing is
computed twice that can be kept. A program walks over a map line by line (rows if contiguous, columns if channels_last),
with the direction in which memory runs along the lanes, so that both layouts are read and written as they are. The
forward pass keeps the two lines of pixels around a query, interpolated across already. The backward pass adds a query's
gradient to the two, and writes a line when no further query touches it; the gradient to alpha meets x in the same
place. Each program leaves two partial sums of it, which the second launch adds up in float64.

Sums have a fixed order: there are no atomics, and no autotuning, which would let timings decide it. Positions are
rational and stay so: floor and fraction come from integer division, exact at every size. Where both sizes are halved,
as at alpha = 2, the queries are the pixels themselves and little arithmetic is left.

``plans`` says how maps are cut. Where a pixel would gather from more cells than the backward kernel keeps weights for,
as in maps that grow to more than twice their size, and where maps are too large, plain PyTorch does it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from dynpool.resizers.kernels import eager
from dynpool.resizers.kernels.layout import accumulator, memory_format

from .ahead import compile_ahead
from .plans import Launch, alpha_launch, backward_launch, forward_launch

__all__ = ["backward", "forward"]


def forward(x: Tensor, size: tuple[int, int], reduce: str, keep_winner: bool) -> tuple[Tensor, Tensor]:
    """As :func:`dynpool.resizers.kernels.eager.forward`, for x on a GPU, or on a CPU where Triton interprets."""
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    keep = keep_winner and reduce == "max"
    launch = forward_launch(x.shape, size, layout, x.dtype, reduce, keep) if x.numel() else None
    if x.numel() and launch is None:
        return eager.forward(x, size, reduce, keep_winner)
    y = torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=layout)
    winner = torch.empty_like(y, dtype=torch.uint8) if keep else x.new_empty(0, dtype=torch.uint8)
    if launch is not None:
        with _on(x):
            _start(launch, x, y, winner)
    return y, winner


def backward(
    dy: Tensor,
    x: Tensor | None,
    alpha: Tensor | None,
    winner: Tensor,
    size_in: tuple[int, int],
    reduce: str,
    need_x: bool,
    channels_last: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """As :func:`dynpool.resizers.kernels.eager.backward`. "sample" gives alpha the gradient of "mean", by launches of
    their own.
    """
    need_alpha = x is not None and alpha is not None
    layout = torch.channels_last if channels_last else torch.contiguous_format
    shape, size = (*dy.shape[:2], *size_in), dy.shape[2:]
    if need_alpha and dy.is_cuda:
        compile_ahead(shape, size, layout, dy.dtype, reduce, need_x, dy.get_device())
    if reduce == "sample" and x is not None:
        dx = backward(dy, None, None, winner, size_in, reduce, True, channels_last)[0] if need_x else None
        return dx, backward(dy, x, alpha, winner, size_in, "mean", False, channels_last)[1]
    launch = backward_launch(shape, size, layout, dy.dtype, reduce, need_x, need_alpha) if dy.numel() else None
    if dy.numel() and launch is None:
        return eager.backward(dy, x, alpha, winner, size_in, reduce, need_x, channels_last)
    dx = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=layout) if need_x else None
    dalpha = None if x is None or alpha is None else torch.empty(2, dtype=alpha.dtype, device=alpha.device)
    if launch is None:
        return dx, None if dalpha is None else dalpha.zero_()
    dy = dy.contiguous(memory_format=layout)
    x = dy if x is None else x.contiguous(memory_format=layout)
    winner = winner.contiguous(memory_format=layout) if reduce == "max" else winner
    partials = dy if dalpha is None else dy.new_empty(2 * launch.programs, dtype=accumulator(dy.dtype))
    with _on(dy):
        _start(launch, dy, x, winner, dy if dx is None else dx, partials)
        if alpha is not None and dalpha is not None:
            _start(alpha_launch(launch.programs, size_in, size, alpha.stride(0)), partials, alpha, dalpha)
    return dx, dalpha


def _start(launch: Launch, *tensors: Tensor) -> None:
    """Launch a kernel on the current stream: the compiled one as it is kept, once it has been found by Triton.

    Triton compiles for the types of pointers and for which of them are aligned; to look that up takes it longer than
    the launch does.
    """
    kept = (tensors[0].get_device(), *[(tensor.dtype, tensor.data_ptr() % 16 == 0) for tensor in tensors])
    run = launch.kept.get(kept)
    if run is not None:
        run(*tensors, *launch.numbers, *launch.constants.values())
        return
    grid = (launch.programs, 1, 1)
    compiled = launch.kernel[grid](*tensors, *launch.numbers, **launch.constants, **launch.options)
    if compiled is not None and torch.version.hip is None:  # the interpreter has none; AMD's depend on sizes as well
        launch.kept[kept] = compiled[grid]


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it that of x."""
    if not x.is_cuda or x.get_device() == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(x.device)
