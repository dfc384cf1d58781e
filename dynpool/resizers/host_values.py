"""The numbers of a parameter as Python floats, read through wrappers of torch.func and shards, or given by users."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from dynpool.common.arguments import is_number
from dynpool.size_math import Pair, PerAxis, pair

__all__ = [
    "as_float32",
    "as_pair",
    "float32",
    "gathered",
    "has_values",
    "number_pair",
    "numbers",
    "read_values",
    "write_values",
]


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has values that can be read: not on the meta device, and not while a program is recorded."""
    tensor = _unwrapped(tensor)
    return not (tensor.is_meta or isinstance(tensor, FakeTensor | FunctionalTensor))


def read_values(tensors: Sequence[Tensor]) -> list[list[float]]:
    """The values of one-dimensional tensors, in one copy from the device; shards are gathered first, on all processes.

    Raises:
        ValueError: for a tensor that torch.vmap maps over with different values.
    """
    if not tensors:
        return []
    with torch._C._DisableFuncTorch(), torch.no_grad():
        plain = [_whole(_unwrapped(tensor)) for tensor in tensors]
        found = iter(torch.cat(plain).tolist())
    return [[next(found) for _ in range(one.numel())] for one in plain]


def write_values(tensor: Tensor, values: Sequence[float]) -> None:
    """Write numbers into a one-dimensional tensor in place; each process writes its own shard of a DTensor."""
    with torch.no_grad():
        new = torch.tensor(values, dtype=tensor.dtype)
        sharded = _dtensor()
        if sharded is not None and isinstance(tensor, sharded.DTensor):
            mesh, placements = tensor.device_mesh, tensor.placements
            new = sharded.distribute_tensor(new.to(tensor.device), mesh, placements, src_data_rank=None)
        tensor.copy_(new)


def gathered(tensor: Tensor, *, averaged: bool = False) -> Tensor:
    """A DTensor as a plain tensor, with a gradient; other tensors unchanged.

    Args:
        tensor: any tensor.
        averaged: True if the gradients of the processes differ, as for their own images, and are averaged as by FSDP.
            False if all processes compute the same.
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
    """The module of DTensors if it has been imported; otherwise no DTensor exists."""
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
                f"torch.vmap maps over different alphas, {tensor.tolist()}, which would give maps of different sizes; "
                "pass in_dims=None for them"
            )
    return first


def as_float32(values: Sequence[float], message: str) -> PerAxis:
    """Finite numbers as float32 values, else an error with this message."""
    return tuple(map(float32, numbers(values, len(values), message)))


def as_pair(values: float | Sequence[float], message: str) -> Pair:
    """One or two finite numbers as two float32 values, else an error with this message."""
    height, width = number_pair(values, message)
    return float32(height), float32(width)


def number_pair(values: float | Sequence[float], message: str) -> Pair:
    """One or two finite numbers as two floats, else an error with this message."""
    return pair(numbers(values, 2, message))


def numbers(values: float | Sequence[float], count: int, message: str) -> tuple[float, ...]:
    """As many finite numbers, or one for all of them, as floats, else an error with this message."""
    given: Any = (values,) * count if is_number(values) else values
    if isinstance(given, bool) or (isinstance(given, (tuple, list)) and any(isinstance(v, bool) for v in given)):
        raise TypeError(message)
    try:
        found = tuple([float(value + 0.0) for value in given])  # the sum raises for strings, which float would parse
    except TypeError:
        raise TypeError(message) from None
    if len(found) != count or not all(math.isfinite(number) for number in found):
        raise ValueError(message)
    return found


def float32(value: float) -> float:
    """The value that a float32 parameter holds when it is set to ``value``."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
