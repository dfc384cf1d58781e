"""The numbers in a parameter as Python floats: through torch.func's wrappers and from the shards of a DTensor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

__all__ = ["gathered", "has_values", "read_values", "write_values"]


def has_values(tensor: Tensor) -> bool:
    """Whether there is anything to read: not on the meta device, nor while a program is recorded."""
    tensor = _unwrapped(tensor)
    return not (tensor.is_meta or isinstance(tensor, FakeTensor | FunctionalTensor))


def read_values(tensors: Sequence[Tensor]) -> list[list[float]]:
    """What one-dimensional tensors hold, in one copy from the device; shards are gathered first, on all processes.

    Raises:
        ValueError: for a tensor that torch.vmap maps over, if it holds other numbers for each.
    """
    if not tensors:
        return []
    with torch._C._DisableFuncTorch(), torch.no_grad():
        plain = [_whole(_unwrapped(tensor)) for tensor in tensors]
        numbers = iter(torch.cat(plain).tolist())
    return [[next(numbers) for _ in range(one.numel())] for one in plain]


def write_values(tensor: Tensor, values: Sequence[float]) -> None:
    """Write numbers into a one-dimensional tensor in place; of a DTensor each process writes its own shard."""
    with torch.no_grad():
        new = torch.tensor(values, dtype=tensor.dtype)
        sharded = _dtensor()
        if sharded is not None and isinstance(tensor, sharded.DTensor):
            mesh, placements = tensor.device_mesh, tensor.placements
            new = sharded.distribute_tensor(new.to(tensor.device), mesh, placements, src_data_rank=None)
        tensor.copy_(new)


def gathered(tensor: Tensor, *, averaged: bool = False) -> Tensor:
    """A DTensor as one plain tensor, with its gradient; others as they are.

    Args:
        tensor: any.
        averaged: whether each process has a gradient of its own, for its own images: the mean over all counts, as
            FSDP has it. Otherwise the processes compute the same.
    """
    sharded = None if torch.compiler.is_compiling() else _dtensor()
    if sharded is None or not isinstance(tensor, sharded.DTensor):
        return tensor
    if not averaged:
        same: Tensor = tensor.full_tensor()
        return same
    mesh = tensor.device_mesh
    whole: Tensor = tensor.full_tensor(grad_placements=[sharded.Partial()] * mesh.ndim)
    if whole.requires_grad:
        whole.register_hook(lambda grad: grad / mesh.size())
    return whole


def _dtensor() -> Any:
    """The module of DTensors, if it was imported: else there are none."""
    return sys.modules.get("torch.distributed.tensor")


def _whole(tensor: Tensor) -> Tensor:
    return gathered(tensor).detach()


def _unwrapped(tensor: Tensor) -> Tensor:
    """The tensor under all wrappers of torch.func."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        dim = functorch.maybe_get_bdim(tensor) if functorch.is_batchedtensor(tensor) else -1
        tensor = functorch.get_unwrapped(tensor)
        if dim >= 0:
            tensor = _the_same_for_all(tensor, dim)
    return tensor


def _the_same_for_all(tensor: Tensor, dim: int) -> Tensor:
    with torch._C._DisableFuncTorch(), torch.no_grad():
        first = tensor.select(dim, 0)
        if has_values(tensor) and not torch.equal(tensor, first.unsqueeze(dim).expand_as(tensor)):
            raise ValueError(
                f"torch.vmap maps over alphas of other values for each, {tensor.tolist()}: maps of several sizes are "
                "no batch; give vmap in_dims=None for them"
            )
    return first
