"""Part "verify": the Triton kernels against the reference in float64, on the fixed list of maps.

Memory is poisoned before each call, so that an element left unwritten shows; every call is made twice and must give the
same bits. A row for each map and each of its results; none ends the part.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import InterpreterError

from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map, shapes
from benchmarks.gpu.rows import FAILED, PASSED, SKIPPED, Rows, path_of
from dynpool.resizers.kernels import reference
from dynpool.resizers.kernels.layout import accumulator, memory_format
from dynpool.resizers.kernels.triton import launch as kernels

__all__ = ["cannot_interpret", "check", "main"]

ALPHA = (1.7, 2.3)  # that the gradients are asked for at


def main(context: Context) -> None:
    """A row for each result of each map."""
    columns = ("shape", "size", "dtype", "strides", "reduce", "skew", "checked", "error", "allowed")
    with Rows(path_of(context.out, "verify"), columns, context.device) as rows:
        why = cannot_interpret()
        if why:
            rows.add("all maps", SKIPPED, note=why)
            return
        todo = shapes(context.tiny)
        for done, one in enumerate(todo):
            if context.left() < 0:
                rows.add(f"{len(todo) - done} maps", SKIPPED, note="no time was left for them")
                return
            about: dict[str, Any] = {
                "shape": one.shape, "size": one.size, "dtype": one.dtype, "strides": one.strides,
                "reduce": one.reduce, "skew": one.skew,
            }  # fmt: skip
            try:
                for found in check(one, context.device):
                    state = PASSED if found.right else FAILED
                    rows.add(
                        f"{one}: {found.checked}", state, found.reached, found.note,
                        checked=found.checked, error=found.error, allowed=found.allowed, **about,
                    )  # fmt: skip
            except Exception as raised:  # noqa: BLE001 - whatever a map raises is its row, and the next one is checked
                note = f"{type(raised).__name__}: {raised} {_place(raised)}"
                rows.add(f"{one}: raised", FAILED, note=note, checked="raised", **about)


@triton.jit
def _loop(y: Any, count: Any) -> None:
    for i in range(count):
        tl.store(y, i)


def cannot_interpret() -> str:
    """Why Triton does not interpret kernels here, where it is asked to; or nothing."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return ""
    try:
        _loop[(1,)](torch.zeros(1, dtype=torch.int32), 2)
    except InterpreterError as error:
        versions = f"Triton {triton.__version__} does not interpret a loop under NumPy {np.__version__}"
        return f"{versions} (Triton 3.6 needs one before 2.4): {error}"
    return ""


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"


@dataclass(frozen=True)
class Finding:
    """What one result of a map showed: the largest error, and what is allowed at that element."""

    checked: str
    error: float
    allowed: float
    note: str = ""

    @property
    def right(self) -> bool:
        return self.error <= self.allowed  # not where it is NaN

    @property
    def reached(self) -> float:
        """1 or more if it is right: by how much the error is below what is allowed."""
        if math.isnan(self.error):
            return 0.0
        return min(self.allowed / self.error, 1000.0) if self.error else 1000.0


def check(one: Map, device: str) -> Iterator[Finding]:
    """Both passes of the kernels on this map, as the launchers run them, compared result by result."""
    x, dy = one.tensors(device)
    alpha = torch.tensor(ALPHA, device=device)
    pixels = (one.shape[2], one.shape[3])
    layout = memory_format(x)
    backward = partial(kernels.backward, size_in=pixels, reduce=one.reduce, channels_last=layout == torch.channels_last)
    with _poisoned():
        y, winner = kernels.forward(x, one.size, one.reduce, True)
        dx, dalpha = backward(dy, x, alpha, winner, need_x=True)
        again = (*kernels.forward(x, one.size, one.reduce, True), *backward(dy, x, alpha, winner, need_x=True))
        alone = None
        if "alone" in one.uses:
            alone = (backward(dy, None, None, winner, need_x=True)[0], backward(dy, x, alpha, winner, need_x=False)[1])
    yield _same("twice the same bits", (y, winner, dx, dalpha), again)
    if alone is not None:
        yield _same("each gradient alone", (dx, dalpha), alone)
    yield Finding("layout", float(not all(t.is_contiguous(memory_format=layout) for t in (y, dx) if t is not None)), 0)

    x, dy, winner = x.cpu().double(), dy.cpu().double(), winner.cpu()
    largest = _largest(x)
    exact, _ = reference.forward(x, one.size, one.reduce)
    half_ulp = 0.501 * torch.finfo(one.dtype).eps
    sums = 16 * torch.finfo(accumulator(one.dtype)).eps  # of a few numbers
    yield _near("y", y, exact, half_ulp, sums * largest)
    if one.reduce == "max":
        yield _near("winners", _at_winners(x, one.size, winner), exact, 1e-12, 2 * sums * largest)
    exact_dx, spread = reference.backward(dy, x, winner, pixels, one.reduce, True)
    if exact_dx is None or spread is None:
        raise RuntimeError("the reference gave no gradients")
    yield _near("dx", dx, exact_dx, half_ulp, sums * _at_most(one) * _largest(dy))
    ratios = [size_in / size / a for size_in, size, a in zip(pixels, one.size, ALPHA, strict=True)]
    exact_alpha = spread * torch.tensor(ratios, dtype=torch.float64).square() / 4
    yield _near("dalpha", dalpha, exact_alpha, 1e-6, 1e-7 * largest * float(dy.abs().sum()))


@contextmanager
def _poisoned() -> Iterator[None]:
    """Fresh memory holds NaN, or the largest integer: PyTorch's own means against results that depend on it."""
    torch.use_deterministic_algorithms(True)  # under which torch.empty is filled
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


def _at_most(one: Map) -> float:
    """By how many cells' gradients a pixel is reached at most."""
    height, width = (max(2 * one.size[i] // one.shape[2 + i], 1) + 1 for i in (0, 1))
    return float(height * width)


def _at_winners(x: Tensor, size: tuple[int, int], winner: Tensor) -> Tensor:
    """What x holds at each cell's winning query."""
    if not x.numel():
        return x.new_empty((*x.shape[:2], *size))
    queries = F.interpolate(x, (2 * size[0], 2 * size[1]), mode="bilinear", align_corners=False)
    cells = queries.unflatten(3, (size[1], 2)).unflatten(2, (size[0], 2)).transpose(3, 4).flatten(4)
    return cells.gather(4, winner.long().unsqueeze(4)).squeeze(4)


def _near(checked: str, found: Tensor | None, exact: Tensor, rtol: float, atol: float) -> Finding:
    """The element that is furthest beyond what is allowed, or nearest to it."""
    if found is None:
        return Finding(checked, math.inf, 0.0, "there is none")
    if found.shape != exact.shape:
        return Finding(checked, math.inf, 0.0, f"its shape is {tuple(found.shape)}, not {tuple(exact.shape)}")
    if not found.numel():
        return Finding(checked, 0.0, 0.0)
    found, exact = found.detach().cpu().double().flatten(), exact.flatten()
    error, allowed = (found - exact).abs(), atol + rtol * exact.abs()
    wrong = ~(error <= allowed)  # NaN is wrong
    excess = torch.where(error.isnan(), math.inf, error - allowed)
    at = int(excess.argmax())
    note = ""
    if wrong.any():
        first = int(wrong.nonzero()[0])
        note = f"{int(wrong.sum())} of {len(wrong)} wrong, first {first}: {found[first]:.6g} for {exact[first]:.6g}"
    return Finding(checked, float(error[at]), float(allowed[at]), note)


Tensors = tuple[Tensor | None, ...]


def _same(checked: str, first: Tensors, second: Tensors) -> Finding:
    """Whether the bits of all tensors are the same; the error is how many are not."""
    bits: Callable[[Tensor], Tensor] = lambda x: x.contiguous().view(torch.uint8)  # noqa: E731 - NaN equals itself so
    pairs = zip(first, second, strict=True)
    other = sum(a is None or b is None or not torch.equal(bits(a), bits(b)) for a, b in pairs)
    return Finding(checked, float(other), 0.0, f"{other} of {len(first)} tensors differ" if other else "")
