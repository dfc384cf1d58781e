"""The kernels that maps need: the launchers run on tensors without data, and what they would launch is noted.

So nothing of how maps are cut is said twice. Compiling wants no GPU either: a stand-in for Triton's driver names the
architecture, and what is compiled lands in Triton's cache under the name by which a launch looks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import MockTensor

from benchmarks.gpu.maps import Map
from dynpool.resizers.kernels.layout import memory_format
from dynpool.resizers.kernels.triton import launch as kernels
from dynpool.resizers.kernels.triton import plans

__all__ = ["HOPPER", "Launch", "compile_launch", "launches", "use_target"]

HOPPER = GPUTarget("cuda", 90, 32)
_ALIGNED = 16  # bytes, of which Triton tells the compiler


@dataclass(frozen=True)
class Pointer:
    """A tensor as a kernel is compiled for it."""

    dtype: torch.dtype
    aligned: bool


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel's name, its arguments and its constants and options."""

    kernel: str
    arguments: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]


def launches(maps: Iterable[Map]) -> Iterator[Launch]:
    """What the maps launch, one of each kind that is compiled."""
    seen = set()
    for one in maps:
        with _noted() as noted:
            _use(one)
        for launch in noted:
            kind = _kind(launch)
            if kind not in seen:
                seen.add(kind)
                yield launch


def _use(one: Map) -> None:
    x, dy = one.tensors("meta")
    alpha = torch.empty(2, device="meta")
    layout = memory_format(x) == torch.channels_last
    pixels = (one.shape[2], one.shape[3])
    if "forward" in one.uses:
        kernels.forward(x, one.size, one.reduce, False)
    if "both" in one.uses or "alone" in one.uses:
        _, winner = kernels.forward(x, one.size, one.reduce, True)
    if "both" in one.uses:
        kernels.backward(dy, x, alpha, winner, pixels, one.reduce, True, layout)
    if "alone" in one.uses:
        kernels.backward(dy, None, None, winner, pixels, one.reduce, True, layout)
        kernels.backward(dy, x, alpha, winner, pixels, one.reduce, False, layout)


@contextmanager
def _noted() -> Iterator[list[Launch]]:
    """Nothing is launched; what would be is noted."""
    start, noted = kernels._start, list[Launch]()

    def note(launch: plans.Launch, *tensors: Tensor) -> None:
        given = (*(_pointer(tensor) for tensor in tensors), *launch.numbers)
        noted.append(Launch(launch.kernel.__name__, given, (*launch.constants.items(), *launch.options.items())))

    kernels._start = note
    try:
        yield noted
    finally:
        kernels._start = start


def _pointer(tensor: Tensor) -> Pointer:
    return Pointer(tensor.dtype, bool(tensor.storage_offset() * tensor.element_size() % _ALIGNED == 0))


def _kind(launch: Launch) -> object:
    """What tells compiled kernels apart: types, constants, and of numbers whether they are 1 or multiples of 16."""
    kernel = getattr(plans, launch.kernel)
    kinds = []
    for parameter, value in zip(kernel.params, launch.arguments, strict=False):
        if isinstance(value, int):
            special = (value == 1, value % 16 == 0) if not parameter.do_not_specialize else ()
            value = (value.bit_length() > 31, special)
        kinds.append(value)
    return launch.kernel, tuple(kinds), repr(launch.named)


# --------------------------------------------------------------------------------------------------------- compiling


def use_target(target: GPUTarget) -> None:
    """From here on Triton compiles for the target, and this process launches nothing."""
    driver.set_active(
        SimpleNamespace(
            get_current_device=lambda: 0,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: target,
        )
    )


class _Skewed(MockTensor):
    """A pointer of which Triton cannot tell the compiler that it is aligned."""

    @staticmethod
    def data_ptr() -> int:
        return 1


def compile_launch(launch: Launch) -> Any:
    """The compiled kernel, which is in Triton's cache then."""
    given = [
        (MockTensor if value.aligned else _Skewed)(value.dtype) if isinstance(value, Pointer) else value
        for value in launch.arguments
    ]
    return getattr(plans, launch.kernel).warmup(*given, grid=(1,), **dict(launch.named))
