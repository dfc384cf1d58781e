"""The operator as PyTorch sees it, with fakes, gradients and batching: ``dynpool::dynopool2d``, ``dynpool::dynopool3d``
and their backward passes.

Both share everything: the number of axes follows from the map, and a size has as many arguments. They are registered by
``torch.library.Library`` and hand-written autograd functions, which cost about a third of what
``torch.library.custom_op`` does for each call. Bodies live in :mod:`.kernels`, one for each kind of device.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .kernels import eager
from .kernels.layout import channels_last as last
from .kernels.layout import memory_format

__all__ = ["pool", "triton_problem"]

_PLAIN = (Tensor, torch.nn.Parameter, type(None))

_library = torch.library.Library("dynpool", "DEF")
_AXES = {2: "hw", 3: "dhw"}
for _count, _letters in _AXES.items():
    _outs, _ins = (", ".join(f"SymInt {side}_{letter}" for letter in _letters) for side in ("out", "in"))
    _library.define(
        f"dynopool{_count}d(Tensor x, Tensor alpha, {_outs}, str reduce, bool keep_winner=False) -> (Tensor, Tensor)",
        tags=(torch.Tag.pt2_compliant_tag,),
    )
    _library.define(
        f"dynopool{_count}d_backward(Tensor dy, Tensor? x, Tensor? alpha, Tensor winner, {_ins}, str reduce,"
        " bool need_x, bool channels_last) -> (Tensor, Tensor)",
        tags=(torch.Tag.pt2_compliant_tag,),
    )
_FORWARD = {4: torch.ops.dynpool.dynopool2d.default, 5: torch.ops.dynpool.dynopool3d.default}  # by x.dim()
_BACKWARD = {4: torch.ops.dynpool.dynopool2d_backward.default, 5: torch.ops.dynpool.dynopool3d_backward.default}


def pool(x: Tensor, alpha: Tensor, size: Sequence[int], reduce: str) -> Tensor:
    """The map x pooled to ``size``, with its gradients to x and alpha, which has as many values as the map has axes."""
    if torch.compiler.is_compiling():
        return _forward(x, alpha, *size, reduce)[0]
    if torch._C._are_functorch_transforms_active():
        return _Recorded.apply(x, alpha, *size, reduce)[0]
    if not _is_plain(x, alpha):
        return _forward(x, alpha, *size, reduce)[0]
    if _is_recorded(x, alpha):
        y: Tensor = _Plain.apply(x, alpha, *size, reduce)
        return y
    return _implementation(x, alpha, *size, reduce)[0]


def _forward(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    both: tuple[Tensor, Tensor] = _FORWARD[x.dim()](x, *arguments)
    return both


def _backward(dy: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    both: tuple[Tensor, Tensor] = _BACKWARD[dy.dim()](dy, *arguments)
    return both


def _is_plain(*tensors: Tensor | None) -> bool:
    """Whether nothing but autograd looks on, and values are in memory as they are: then the implementation is called
    past the dispatcher, a third of the call's cost.
    """
    return (
        all(type(tensor) in _PLAIN for tensor in tensors)
        and not any(tensor is not None and _is_special(tensor) for tensor in tensors)
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._is_torch_function_mode_enabled()
        and torch._C._get_tracing_state() is None
        and not torch._C._autograd._profiler_enabled()
    )


def _is_special(x: Tensor) -> bool:
    return torch._C._functorch.is_legacy_batchedtensor(x) or x.is_neg() or x._is_zerotensor()


# ----------------------------------------------------------------------------------------------------- implementation


def triton_problem() -> str | None:
    """Why maps of two axes on the present GPU cannot be pooled by the Triton kernels, in one line; None if they are.

    It launches a kernel that does nothing.
    """
    if find_spec("triton") is None:
        return "it is not installed"
    from dynpool.resizers.kernels.triton import usable

    return usable.why_not()


@lru_cache(maxsize=1)
def _fused() -> ModuleType | None:
    """The Triton kernels, imported when the first map on a GPU comes; None where Triton cannot be used."""
    why = triton_problem()
    if why is None:
        from dynpool.resizers.kernels.triton import launch

        return launch
    if find_spec("triton") is not None:
        warnings.warn(
            f"Triton is installed but cannot be used ({why}): dynopool2d runs as plain PyTorch on GPUs, which is "
            "slower",
            RuntimeWarning,
            stacklevel=2,
        )
    return None


def _body(x: Tensor) -> Any:
    return (_fused() if x.is_cuda and x.dim() == 4 else None) or eager  # there is no kernel for three axes


def _implementation(x: Tensor, alpha: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """The pooled map and, for "max" if kept, the winning queries (uint8). Alpha is here for its gradient alone."""
    size, reduce, keep_winner = _split(x, rest)
    return _body(x).forward(x, size, reduce, keep_winner)


def _implementation_backward(
    dy: Tensor, x: Tensor | None, alpha: Tensor | None, winner: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    """The gradient to x (empty unless wanted) and the gradient to alpha (empty unless x and alpha are given)."""
    size_in, options = rest[: dy.dim() - 2], rest[dy.dim() - 2 :]
    dx, dalpha = _body(dy).backward(dy, x, alpha, winner, size_in, *options)
    return dy.new_empty(0) if dx is None else dx, dy.new_empty(0) if dalpha is None else dalpha


def _split(x: Tensor, rest: tuple[Any, ...]) -> tuple[tuple[int, ...], str, bool]:
    """Size, reduction and whether to keep the winners: what follows alpha, the last left out where it is False."""
    axes = x.dim() - 2
    return rest[:axes], rest[axes], len(rest) > axes + 1 and rest[axes + 1]


def _fake(x: Tensor, alpha: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    size, reduce, keep_winner = _split(x, rest)
    shape = (x.shape[0], x.shape[1], *size)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    kept = keep_winner and reduce == "max"
    return y, torch.empty_like(y, dtype=torch.uint8) if kept else x.new_empty(0, dtype=torch.uint8)


def _fake_backward(
    dy: Tensor, x: Tensor | None, alpha: Tensor | None, winner: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    axes = dy.dim() - 2
    _, need_x, channels_last = rest[axes:]
    layout = last(axes) if channels_last else torch.contiguous_format
    shape = (dy.shape[0], dy.shape[1], *rest[:axes])
    dx = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=layout) if need_x else dy.new_empty(0)
    return dx, dy.new_empty(0) if x is None or alpha is None else alpha.new_empty(axes)


# --------------------------------------------------------------------------------------------------------- gradients


class _Plain(torch.autograd.Function):
    """A plain call on the tape. The winners are kept where a gradient will be asked for, not otherwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, *size_and_reduce: Any) -> Tensor:
        y, winner = _implementation(x, alpha, *size_and_reduce, True)
        _save(ctx, x, alpha, winner, size_and_reduce[-1])
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, dy)


class _Recorded(torch.autograd.Function):
    """The operator on the tape, in the form that torch.func demands, which costs more for each call."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: Tensor, *size_and_reduce: Any) -> tuple[Tensor, Tensor]:
        return _forward(x, alpha, *size_and_reduce, True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, alpha, *_, reduce = inputs
        ctx.mark_non_differentiable(output[1])
        _save(ctx, x, alpha, output[1], reduce)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, dy)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise RuntimeError(f"{_name(ctx)} has no forward-mode derivatives: use torch.func.grad or vjp instead of jvp")


class _Once(torch.autograd.Function):
    """The backward pass, which has no derivative of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            return _backward(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.size = inputs[4:-3]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError(f"{_name(ctx)} has first derivatives only: its gradients cannot be differentiated")


def _save(ctx: Any, x: Tensor, alpha: Tensor, winner: Tensor, reduce: str) -> None:
    needs_alpha = ctx.needs_input_grad[1]
    ctx.set_materialize_grads(False)  # else zeros would be made for the winners in each backward pass
    ctx.save_for_backward(x if needs_alpha else None, alpha if needs_alpha else None, winner)
    ctx.size = tuple(x.shape[2:])
    ctx.reduce, ctx.channels_last = reduce, memory_format(x) != torch.contiguous_format


def _name(ctx: Any) -> str:
    return f"dynopool{len(ctx.size)}d"


def _gradients(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
    others = (None,) * (len(ctx.size) + 1)  # size and reduce
    if dy is None:  # what follows had no gradient
        return None, None, *others
    x, alpha, winner = ctx.saved_tensors
    need_x, need_alpha = ctx.needs_input_grad[:2]
    if torch._C._are_functorch_transforms_active():
        run = _Once.apply
    elif torch.is_grad_enabled() or torch.compiler.is_compiling() or not _is_plain(dy, x, alpha, winner):
        run = _backward
    else:  # no one will differentiate it: past the dispatcher, which costs a quarter of the call
        run = _implementation_backward
    dx, dalpha = run(dy, x, alpha, winner, *ctx.size, ctx.reduce, need_x, ctx.channels_last)
    return dx if need_x else None, dalpha if need_alpha else None, *others


def _is_recorded(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _record(x: Tensor, alpha: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    if _is_recorded(x, alpha):
        return _Recorded.apply(x, alpha, *rest[: x.dim() - 1])
    with torch._C._AutoDispatchBelowAutograd():
        return _forward(x, alpha, *rest)


def _record_backward(dy: Tensor, x: Tensor | None, alpha: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor]:
    if _is_recorded(dy, x, alpha):
        return _Once.apply(dy, x, alpha, *rest)
    with torch._C._AutoDispatchBelowAutograd():
        return _backward(dy, x, alpha, *rest)


# ---------------------------------------------------------------------------------------------------------- batching


def _batched(
    info: Any, in_dims: tuple[int | None, ...], x: Tensor, alpha: Tensor, *rest: Any
) -> tuple[tuple[Tensor, Tensor], tuple[int | None, int | None]]:
    """Values do not depend on alpha, so only a batch of x matters: it joins the samples."""
    if in_dims[1] is not None:
        alpha = alpha.select(in_dims[1], 0)
    if in_dims[0] is None:
        return _forward(x, alpha, *rest), (None, None)
    y, winner = _forward(x.movedim(in_dims[0], 0).flatten(0, 1), alpha, *rest)
    if winner.dim() == 1:
        return (_unfold(y, info.batch_size), winner), (0, None)
    return (_unfold(y, info.batch_size), _unfold(winner, info.batch_size)), (0, 0)


def _batched_backward(
    info: Any, in_dims: tuple[int | None, ...], *arguments: Any
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """One after the other: the gradient to alpha is a sum over all samples, so a batch cannot join them."""
    results = []
    for k in range(info.batch_size):
        chosen = [a if dim is None else a.select(dim, k) for a, dim in zip(arguments, in_dims, strict=True)]
        results.append(_backward(*chosen))
    dx, dalpha = (torch.stack(parts) for parts in zip(*results, strict=True))
    return (dx, dalpha), (0, 0)


def _unfold(x: Tensor, count: int) -> Tensor:
    return x.unflatten(0, (count, x.shape[0] // count if count else 0))


# ------------------------------------------------------------------------------------------------------ registration


def _register(name: str, implementation: Any, fake: Any, record: Any, batched: Any) -> None:
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dynpool::{name}", fake, lib=_library)
    _library.impl(name, record, "Autograd")
    torch.library.register_vmap(f"dynpool::{name}", batched, lib=_library)


for _count in _AXES:
    _register(f"dynopool{_count}d", _implementation, _fake, _record, _batched)
    _backward_parts = (_implementation_backward, _fake_backward, _record_backward, _batched_backward)
    _register(f"dynopool{_count}d_backward", *_backward_parts)
