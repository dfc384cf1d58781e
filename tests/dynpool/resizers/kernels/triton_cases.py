"""What the Triton kernels are tested for, on a GPU or, with TRITON_INTERPRET=1, on the CPU.

Random maps, of which each wants kernels of its own, are for the interpreter; a GPU takes a fixed list instead.
Triton decides when it is imported whether it interprets, so ``test_triton.py`` runs this file in a process of its own.
"""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.gpu.maps import Map, laid_out, shapes
from benchmarks.gpu.verify import cannot_interpret, check
from dynpool.resizers.kernels import reference
from dynpool.resizers.kernels.layout import accumulator, memory_format
from dynpool.resizers.kernels.triton import launch as kernels
from dynpool.resizers.kernels.triton import plans

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"


def count_single_elements() -> None:
    """Let tensors of one element be indices to the interpreter under NumPy 2.4 too, as Triton 3.7 and later do."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


def patch_each_module_once() -> None:
    """Let the interpreter patch Triton's language once a launch for each module, not at every call of a function."""
    from triton.runtime import interpreter

    patch, launch, patched = interpreter._patch_lang, interpreter.GridExecutor.__call__, set()

    def patch_once(function: Any) -> Any:
        module = id(function.__globals__)
        if module in patched:
            return None
        patched.add(module)
        return patch(function)

    def launch_anew(self: Any, *arguments: Any, **options: Any) -> Any:
        patched.clear()
        return launch(self, *arguments, **options)

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = patch_once, launch_anew


if INTERPRETED:
    count_single_elements()
    patch_each_module_once()
if why := cannot_interpret():
    pytest.skip(why, allow_module_level=True)
pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU")

# to the interpreter, a line takes some 30 ms however many elements it has: those of a row, or channels
few, some, many = st.integers(1, 4), st.integers(1, 8), st.integers(1, 40)
examples = settings(deadline=None, max_examples=6, derandomize=True)
every_reduction = pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
every_layout = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


@pytest.fixture(autouse=True)
def short_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines are shared out among several programs, as otherwise only longer maps are."""
    if INTERPRETED:
        monkeypatch.setattr(plans, "_LINES", 2)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory holds NaN (255 in winners), so that an element left unwritten shows."""
    empty, empty_like = torch.empty, torch.empty_like

    def poison(tensor: Tensor) -> Tensor:
        return tensor.fill_(math.nan if tensor.dtype.is_floating_point else 255)

    monkeypatch.setattr(torch, "empty", lambda *args, **kwargs: poison(empty(*args, **kwargs)))
    monkeypatch.setattr(torch, "empty_like", lambda *args, **kwargs: poison(empty_like(*args, **kwargs)))


@pytest.fixture(autouse=True)
def rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter rounds to bfloat16 as the compiled kernel does, to the nearest; by itself it cuts digits off."""
    if not INTERPRETED:
        return
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    cut_off = InterpreterBuilder.cast_impl

    def round_to_nearest(self: InterpreterBuilder, source: TensorHandle, to: tl.dtype) -> TensorHandle:
        if (source.dtype.scalar, to.scalar) != (tl.float32, tl.bfloat16):
            return cut_off(self, source, to)
        return TensorHandle(torch.from_numpy(source.data).bfloat16().view(torch.uint16).numpy(), tl.bfloat16)

    monkeypatch.setattr(InterpreterBuilder, "cast_impl", round_to_nearest)


def random_map(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(DEVICE, dtype)


def run(
    x: Tensor, dy: Tensor, reduce: str, alpha: tuple[float, float] = (2.0, 2.0)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, winner and both gradients."""
    channels_last = memory_format(x) == torch.channels_last
    stride = torch.tensor(alpha, device=DEVICE)
    y, winner = kernels.forward(x, (dy.shape[2], dy.shape[3]), reduce, True)
    dx, dalpha = kernels.backward(dy, x, stride, winner, (x.shape[2], x.shape[3]), reduce, True, channels_last)
    assert dx is not None
    assert dalpha is not None
    return y, winner, dx, dalpha


def exactly(
    x: Tensor, dy: Tensor, winner: Tensor, reduce: str, alpha: tuple[float, float] = (2.0, 2.0)
) -> tuple[Tensor, Tensor, Tensor]:
    """y and both gradients by the reference in float64, the gradients at the given winners."""
    size_in, size = x.shape[2:], dy.shape[2:]
    y, _ = reference.forward(x.double(), (size[0], size[1]), reduce)
    dx, spread = reference.backward(dy.double(), x.double(), winner, (size_in[0], size_in[1]), reduce, True)
    assert dx is not None
    assert spread is not None
    ratios = [pixels / cells / a for pixels, cells, a in zip(size_in, size, alpha, strict=True)]
    return y, dx, spread * torch.tensor(ratios, dtype=torch.float64, device=DEVICE).square() / 4


# ------------------------------------------------------------------------------------------------------------ values


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """A map of any dtype, shape and strides, and a gradient of any size."""
    strides = st.sampled_from(["contiguous", "channels_last", "permuted", "sliced", "expanded"])
    lies, seed = draw(strides), draw(st.integers(0, 99))
    last = lies == "channels_last"  # whose lines are columns, a program for each row
    channels, rows, columns = (st.integers(1, 20), few, some) if last else (st.integers(1, 3), some, many)
    n, c = draw(st.integers(1, 2)), draw(channels)
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
    x = random_map(n, c, draw(rows), draw(columns), dtype=dtype, seed=seed)
    dy = random_map(n, c, draw(rows), draw(columns), dtype=dtype, seed=seed + 1)
    return laid_out(x, lies), laid_out(dy, draw(strides))


@pytest.mark.skipif(INTERPRETED, reason="random maps are for the interpreter")
@pytest.mark.parametrize("one", shapes(tiny=False), ids=str)
def test_the_fixed_list_is_the_reference_rounded_once(one: Map) -> None:
    assert [finding for finding in check(one, DEVICE) if not finding.right] == []


@pytest.mark.skipif(not INTERPRETED, reason="each map wants kernels of its own")
@every_reduction
@examples
@given(cases())
def test_it_is_the_reference_rounded_once(reduce: str, case: tuple[Tensor, Tensor]) -> None:
    x, dy = case
    y, winner, dx, dalpha = run(x, dy, reduce, (1.7, 2.3))
    exact_y, exact_dx, exact_dalpha = exactly(x, dy, winner, reduce, (1.7, 2.3))
    assert (y.dtype, dx.dtype, dalpha.dtype) == (x.dtype, x.dtype, torch.float32)
    half_ulp = 0.501 * torch.finfo(x.dtype).eps
    sums = 16 * torch.finfo(accumulator(x.dtype)).eps  # of a few numbers
    torch.testing.assert_close(y.double(), exact_y, rtol=half_ulp, atol=sums * float(x.abs().max()))
    torch.testing.assert_close(dx.double(), exact_dx, rtol=half_ulp, atol=sums * summed(dy, x).item())
    largest = float(x.abs().max() * dy.abs().double().sum())
    torch.testing.assert_close(dalpha.double(), exact_dalpha, rtol=1e-6, atol=1e-7 * largest)
    assert y.is_contiguous(memory_format=memory_format(x))
    assert dx.is_contiguous(memory_format=memory_format(x))


@every_reduction
@every_layout
@pytest.mark.parametrize("cells", [2, 4, 8])
def test_no_line_is_missed_however_far_queries_are_apart(reduce: str, layout: torch.memory_format, cells: int) -> None:
    x = random_map(1, 2, 7, 7).contiguous(memory_format=layout)
    dy = random_map(1, 2, cells, cells, seed=1)
    y, winner, dx, dalpha = run(x, dy, reduce)
    for found, exact in zip((y, dx, dalpha), exactly(x, dy, winner, reduce), strict=True):
        torch.testing.assert_close(found, exact, check_dtype=False)


def summed(dy: Tensor, x: Tensor) -> Tensor:
    """What the gradient to a pixel of x can be at most."""
    height, width = (max(2 * cells // pixels, 1) + 1 for cells, pixels in zip(dy.shape[2:], x.shape[2:], strict=True))
    return height * width * dy.abs().max().double()


def composed(x: Tensor, dy: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    """y and the gradient to x of PyTorch's own composition."""
    leaf, size = x.detach().requires_grad_(), (2 * dy.shape[2], 2 * dy.shape[3])
    pool = F.max_pool2d if reduce == "max" else F.avg_pool2d
    y = pool(F.interpolate(leaf, size, mode="bilinear", align_corners=False), 2)
    return y.detach(), torch.autograd.grad(y, leaf, dy)[0]


@pytest.mark.parametrize("reduce", ["max", "mean"])
@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(2, 7)] if INTERPRETED else [(2, 61), (4, 23)])
def test_errors_are_at_most_twice_those_of_pytorch_at_the_same_dtype(
    reduce: str, layout: torch.memory_format, dtype: torch.dtype, size: tuple[int, int]
) -> None:
    channels, width = (8, 6) if INTERPRETED else (6, 50)
    x = random_map(1, channels, 3, width, dtype=dtype).contiguous(memory_format=layout)
    dy = random_map(1, channels, *size, dtype=dtype, seed=1)
    y, winner, dx, dalpha = run(x, dy, reduce)
    assert (y.dtype, dx.dtype, dalpha.dtype) == (dtype, dtype, torch.float32)
    exact = composed(x.double(), dy.double(), reduce)
    for ours, eager, truth in zip((y, dx), composed(x, dy, reduce), exact, strict=True):
        assert (ours.double() - truth).abs().max() <= 2 * (eager.double() - truth).abs().max()
    torch.testing.assert_close(dalpha.double(), exactly(x, dy, winner, reduce)[2], rtol=1e-5, atol=1e-5)


@every_layout
@pytest.mark.parametrize("seed", range(2))
def test_equal_queries_resolve_as_in_the_reference(layout: torch.memory_format, seed: int) -> None:
    x = random_map(2, 3, 8, 12, seed=seed).round().contiguous(memory_format=layout)
    for size in [(4, 6), (2, 2)]:  # queries on pixels, and halfway between them: ties are exact
        assert torch.equal(kernels.forward(x, size, "max", True)[1], reference.forward(x, size, "max")[1])


@every_reduction
@every_layout
def test_a_constant_map_stays_constant(reduce: str, layout: torch.memory_format) -> None:
    x = torch.full((1, 2, 6, 5), 3.0, device=DEVICE).contiguous(memory_format=layout)
    for size in [(3, 2), (4, 7)]:
        torch.testing.assert_close(
            kernels.forward(x, size, reduce, False)[0], torch.full((1, 2, *size), 3.0, device=DEVICE)
        )


@every_layout
def test_nan_reaches_the_cells_whose_queries_weigh_it_and_infinity_no_others(layout: torch.memory_format) -> None:
    x = random_map(1, 2, 8, 8).contiguous(memory_format=layout)
    x[0, 0, 3, 5] = math.nan
    y, winner = kernels.forward(x, (4, 4), "max", True)
    assert y.isnan().nonzero().tolist() == [[0, 0, 1, 2]]
    assert winner[0, 0, 1, 2] == 3
    x[0, 0, 3, 5] = math.inf
    expected, _ = reference.forward(x, (3, 5), "max")
    torch.testing.assert_close(kernels.forward(x, (3, 5), "max", True)[0], expected)


@every_layout
@pytest.mark.parametrize(("reduce", "pixels", "cells"), [("max", 6, 1), ("sample", 6, 3), ("max", 2, 5)])
def test_queries_on_a_line_or_outside_do_not_see_the_next_line(
    reduce: str, pixels: int, cells: int, layout: torch.memory_format
) -> None:
    for line in range(pixels):
        x = random_map(1, 2, pixels, pixels).contiguous(memory_format=layout)
        x[0, 0, line] = x[0, 1, :, line] = math.inf
        expected, _ = reference.forward(x, (cells, cells), reduce)
        torch.testing.assert_close(kernels.forward(x, (cells, cells), reduce, False)[0], expected)


@every_reduction
@every_layout
def test_an_infinite_gradient_reaches_no_further_than_the_next_cell(reduce: str, layout: torch.memory_format) -> None:
    x = random_map(1, 2, 5, 14).contiguous(memory_format=layout)
    dy = random_map(1, 2, 2, 5, seed=1)
    dy[0, 0, 0, 1] = math.inf  # its queries weigh columns 3 to 5
    _, winner = kernels.forward(x, (2, 5), reduce, True)
    dx, _ = kernels.backward(dy, None, None, winner, (5, 14), reduce, True, layout == torch.channels_last)
    expected, _ = reference.backward(dy, None, winner, (5, 14), reduce, True)
    assert dx is not None
    assert expected is not None
    assert not dx[expected.isinf()].isfinite().any()
    clean = torch.ones_like(dx, dtype=torch.bool)
    clean[0, 0, :4, :10] = False
    torch.testing.assert_close(dx[clean], expected[clean])


@every_reduction
def test_the_alpha_gradient_does_not_change_when_map_and_gradient_are_flipped(reduce: str) -> None:
    x, dy = random_map(1, 2, 8, 6), random_map(1, 2, 4, 3, seed=1)  # queries on pixels: kinks
    _, _, _, plain = run(x, dy, reduce)
    _, _, _, flipped = run(x.flip(2, 3), dy.flip(2, 3), reduce)
    torch.testing.assert_close(plain, flipped)


# ----------------------------------------------------------------------------------------- only what is asked, once


@every_reduction
@every_layout
def test_each_gradient_alone_is_what_it_is_with_the_other(reduce: str, layout: torch.memory_format) -> None:
    x = random_map(1, 4, 2, 5).contiguous(memory_format=layout)
    dy, alpha = random_map(1, 4, 1, 3, seed=1), torch.tensor([2.0, 2.0], device=DEVICE)
    _, winner, dx, dalpha = run(x, dy, reduce)
    channels_last = layout == torch.channels_last
    alone_x, nothing = kernels.backward(dy, None, None, winner, (2, 5), reduce, True, channels_last)
    none, alone_alpha = kernels.backward(dy, x, alpha, winner, (2, 5), reduce, False, channels_last)
    assert nothing is None
    assert none is None
    assert torch.equal(alone_x, dx) if alone_x is not None else False
    assert torch.equal(alone_alpha, dalpha) if alone_alpha is not None else False
    y, no_winner = kernels.forward(x, (1, 3), reduce, False)
    assert no_winner.numel() == 0
    assert torch.equal(y, kernels.forward(x, (1, 3), reduce, True)[0])


@every_layout
def test_results_are_bitwise_reproducible_under_deterministic_algorithms(layout: torch.memory_format) -> None:
    contiguous = layout == torch.contiguous_format  # a plane is programs of its own there
    planes = 70 if not INTERPRETED else 5 if contiguous else 34  # of three blocks
    x = random_map(1, planes, 2, 5, dtype=torch.float32).contiguous(memory_format=layout)
    dy = random_map(1, planes, 1, 4, dtype=torch.float32, seed=1)
    torch.use_deterministic_algorithms(True)
    try:
        first = run(x, dy, "max")
        for _ in range(1 if INTERPRETED else 20):
            assert all(torch.equal(a, b) for a, b in zip(first, run(x, dy, "max"), strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


@every_layout
def test_maps_too_large_for_the_kernels_give_the_same_in_plain_pytorch(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = random_map(1, 3, 3, 6).contiguous(memory_format=layout)
    dy = random_map(1, 3, 2, 4, seed=1)
    launched = run(x, dy, "max")
    monkeypatch.setattr(plans, "_PIXELS", 1)
    for cached in (plans.forward_launch, plans.backward_launch):
        cached.cache_clear()
    for plain, ours in zip(run(x, dy, "max"), launched, strict=True):
        torch.testing.assert_close(plain, ours)
    for cached in (plans.forward_launch, plans.backward_launch):
        cached.cache_clear()


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_empty_maps(shape: tuple[int, ...]) -> None:
    y, _, dx, dalpha = run(random_map(*shape), random_map(*shape[:2], 2, 2), "max")
    assert (y.shape, dx.shape) == ((*shape[:2], 2, 2), shape)
    assert dalpha.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("channels", "width"), [(1, 140), (150, 3)])
@every_layout
def test_maps_of_more_than_one_block_in_each_direction(layout: torch.memory_format, channels: int, width: int) -> None:
    x = random_map(2, channels, 2, width).contiguous(memory_format=layout)
    dy = random_map(2, channels, 1, width // 2, seed=1)
    y, winner, dx, dalpha = run(x, dy, "max")
    exact = exactly(x, dy, winner, "max")
    torch.testing.assert_close(y, exact[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(dx, exact[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(dalpha.double(), exact[2], rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(INTERPRETED, reason="gigabytes")
def test_a_map_of_more_than_two_to_the_31_elements() -> None:
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("needs 40 GiB")
    x = torch.zeros(2**21 + 1, 1, 32, 32, dtype=torch.bfloat16, device=DEVICE)
    x[-1] = random_map(1, 1, 32, 32, dtype=torch.bfloat16)[0]
    y, _ = kernels.forward(x, (16, 16), "max", False)
    assert torch.equal(y[-1:], F.max_pool2d(x[-1:], 2))
