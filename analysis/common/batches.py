"""Batches as the measures take them, checked, and random states, which they keep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

__all__ = ["check_batches", "check_progress", "checked", "checked_pair", "device_of", "on_device", "random_states_kept"]

_SHAPES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


def check_batches(batches: object, argument: str = "batches") -> None:
    """Raise TypeError unless `batches` can be iterated over and is not one tensor, a string or a dict."""
    if not isinstance(batches, Iterable) or isinstance(batches, (Tensor, str, bytes, dict)):
        raise TypeError(f"{argument} must be an iterable of pairs (input, target), got {type(batches).__name__}")


def check_progress(progress: object) -> None:
    """Raise TypeError unless `progress` is None or can be called."""
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable, got {progress!r}")


def checked_pair(
    batch: Any, *, targets: bool = True, argument: str = "batches", axes: Collection[int] = (2,)
) -> tuple[Tensor, Any]:
    """The inputs and the target of a batch; the target is None where there is none.

    Args:
        batch: a pair (input, target), or an input alone unless `targets`; inputs (N, C, H, W).
        targets: whether targets are needed.
        argument: what errors call the batches.
        axes: the numbers of spatial axes that inputs may have.

    Raises:
        TypeError: if it is something else.
    """
    pair = batch if isinstance(batch, (tuple, list)) else (batch, None)
    if len(pair) != 2 or (targets and pair is not batch):
        raise TypeError(f"{argument} must give pairs (input, target), got {_described(batch)}")
    images, target = pair
    if not isinstance(images, Tensor) or images.ndim - 2 not in axes or not len(images):
        shapes = " or ".join(_SHAPES[n] for n in sorted(axes))
        raise TypeError(
            f"{argument} must give inputs that are tensors {shapes} with an image or more, got {_described(images)}"
        )
    return images, target


def checked(batches: Iterable[Any], *, targets: bool, argument: str = "batches") -> Iterator[tuple[Tensor, Any]]:
    """The pairs (inputs, target) of the batches; the target is None where there is none.

    Args:
        batches: pairs (input, target), or inputs alone unless `targets`; inputs (N, C, H, W), all of one size.
        targets: whether targets are needed.
        argument: what errors call the batches.

    Raises:
        TypeError: if a batch is something else.
        ValueError: if inputs differ in size, or there is no batch.
    """
    size = None
    for number, batch in enumerate(batches):
        images, target = checked_pair(batch, targets=targets, argument=argument)
        size = size or images.shape[1:]
        if images.shape[1:] != size:
            given, first = ("x".join(map(str, shape)) for shape in (images.shape[1:], size))
            raise ValueError(f"{argument}: inputs of batch {number} are {given}, not {first} as the first")
        yield images, target
    if size is None:
        raise ValueError(f"{argument} is empty: give at least one batch")


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; the CPU for a model without any."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def on_device(value: Any, device: torch.device) -> Any:
    """The value with all tensors in it on the device, usable in a backward pass."""
    return tree_map_only(Tensor, lambda t: (t.clone() if t.is_inference() else t).to(device), value)


@contextmanager
def random_states_kept(*models: nn.Module) -> Iterator[None]:
    """Restores the states of PyTorch's generators: of the CPU, and of the GPUs that the models are on."""
    gpus = {p.device.index or 0 for model in models for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(gpus)):
        yield


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
