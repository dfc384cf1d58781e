"""What checks say: that something is wrong, or cannot be tried here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.gpu.context import Context

__all__ = ["NotHere", "Wrong", "close", "equal", "needs_cuda", "require"]


class Wrong(Exception):  # noqa: N818 - it names what a check found
    """A result is wrong."""


class NotHere(Exception):  # noqa: N818 - as above
    """The check cannot be tried on this machine."""


def require(right: bool, otherwise: str) -> None:
    """Raise `Wrong` unless it is right."""
    if not right:
        raise Wrong(otherwise)


def needs_cuda(context: Context) -> None:
    """Raise `NotHere` without a GPU."""
    if context.device != "cuda":
        raise NotHere("needs a GPU")


def equal(names: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raise `Wrong` unless all bits agree; ``names`` of the tensors in their order."""
    for name, a, b in zip(names.split(), found, expected, strict=True):
        require(torch.equal(a.cpu(), b.cpu()), f"{name} differs: {_difference(a, b)}")


def close(names: str, found: Sequence[Tensor], expected: Sequence[Tensor], rtol: float) -> str:
    """The largest error, relative to the largest value of each tensor; raise `Wrong` if it is above ``rtol``."""
    errors = []
    for name, a, b in zip(names.split(), found, expected, strict=True):
        a, b = a.detach().cpu().double(), b.detach().cpu().double()
        require(a.shape == b.shape, f"{name} has shape {tuple(a.shape)}, not {tuple(b.shape)}")
        error = float((a - b).abs().max()) / max(float(b.abs().max()), 1e-30)
        require(error <= rtol, f"{name} is off by {error:.3g} of its largest value, {rtol:.3g} is allowed")
        errors.append(error)
    return f"largest error {max(errors):.2g}, {rtol:.2g} is allowed"


def _difference(a: Tensor, b: Tensor) -> str:
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    if a.shape != b.shape:
        return f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    return f"{int((a != b).sum())} of {a.numel()} elements, by {float((a - b).abs().max()):.3g} at most"
