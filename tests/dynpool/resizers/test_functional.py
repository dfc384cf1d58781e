"""The public function: what it accepts and refuses, its layouts and gradients."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dynpool.resizers.functional import Reduce, dynopool2d
from dynpool.size_math import output_size
from tests.dynpool.resizers.maps import every_reduction, gradients, laid_out, random_map

quick = settings(deadline=None, max_examples=40)


# ------------------------------------------------------------------------------------------------------- definition


@quick
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.3, 6.0), st.floats(0.3, 6.0))
def test_it_is_interpolate_and_max_pool2d_at_the_size_that_alpha_gives(
    height: int, width: int, alpha_h: float, alpha_w: float
) -> None:
    x = random_map(2, 3, height, width)
    y = dynopool2d(x, torch.tensor([alpha_h, alpha_w], dtype=torch.float64))
    size = output_size(height, alpha_h), output_size(width, alpha_w)
    assert y.shape == (2, 3, *size)
    queries = F.interpolate(x, (2 * size[0], 2 * size[1]), mode="bilinear", align_corners=False)
    torch.testing.assert_close(y, F.max_pool2d(queries, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "alpha", [2, 2.0, (2.0, 2.0), [2, 2], torch.tensor(2.0), torch.tensor([2.0, 2.0]), torch.tensor(2.0).half()]
)
def test_alpha_may_be_a_number_a_pair_or_a_tensor(alpha: Any) -> None:
    x = random_map(2, 3, 8, 10)
    assert torch.equal(dynopool2d(x, alpha), F.max_pool2d(x, 2))


def test_alpha_is_height_then_width() -> None:
    assert dynopool2d(random_map(1, 1, 24, 24), (2.0, 3.0)).shape == (1, 1, 12, 8)
    x, alpha = random_map(1, 1, 1, 24), torch.tensor([2.0, 3.0])
    _, _, dalpha = gradients(x, alpha, "max")
    assert dalpha[0] == 0  # one pixel has no slope along its height
    assert dalpha[1] != 0


@pytest.mark.parametrize("alpha", [0.5, (0.4, 0.9), (0.5, 3.0), (4.0, 0.6)])
@every_reduction
def test_upsampling_and_non_square_strides(alpha: Any, reduce: Reduce) -> None:
    x = random_map(2, 3, 6, 9)
    y = dynopool2d(x, alpha, reduce=reduce)
    pair = (alpha, alpha) if isinstance(alpha, float) else alpha
    assert y.shape == (2, 3, output_size(6, pair[0]), output_size(9, pair[1]))
    assert y.max() <= x.max()
    assert y.min() >= x.min()


def test_one_pixel_becomes_two() -> None:
    assert torch.equal(dynopool2d(torch.full((1, 1, 1, 1), 7.0), 2.0), torch.full((1, 1, 2, 2), 7.0))


@every_reduction
def test_a_given_size_decides_and_alpha_scales_the_gradient(reduce: Reduce) -> None:
    x, size = random_map(2, 3, 11, 9), (4, 5)
    y, dx, dalpha = gradients(x, torch.tensor([1.0, 1.0]), reduce, size)
    y2, dx2, dalpha2 = gradients(x, torch.tensor([2.0, 4.0]), reduce, size)
    assert y.shape[2:] == size
    assert torch.equal(y, y2)
    assert torch.equal(dx, dx2)
    torch.testing.assert_close(dalpha2 * torch.tensor([4.0, 16.0]), dalpha)  # du / dalpha goes as 1 / alpha^2


@every_reduction
def test_gradient_to_alpha_has_alphas_shape_and_dtype(reduce: Reduce) -> None:
    x = random_map(2, 3, 8, 8, dtype=torch.float16)
    pair = torch.full((2,), 2.0, requires_grad=True)
    single = torch.tensor(2.0, requires_grad=True)
    (dpair,) = torch.autograd.grad(dynopool2d(x, pair, reduce=reduce).float().square().sum(), pair)
    (dsingle,) = torch.autograd.grad(dynopool2d(x, single, reduce=reduce).float().square().sum(), single)
    assert dpair.dtype == torch.float32
    assert dsingle.shape == ()
    torch.testing.assert_close(dsingle, dpair.sum())


def test_gradient_to_alpha_by_hand() -> None:
    # H = 4, H_out = 2, alpha = 2: du / dalpha = s * 16 / (4 * 4 * 4) = s / 4; winners are pixels 1 and 3 (s = +1)
    x = torch.tensor([0.0, 5.0, 1.0, 9.0]).view(1, 1, 1, 4).expand(1, 1, 2, 4)
    alpha = torch.tensor([2.0, 2.0], requires_grad=True)
    y = dynopool2d(x, alpha, size=(1, 2))
    y.sum().backward()
    assert alpha.grad is not None
    assert alpha.grad.tolist() == [0.0, 0.25 * (0.5 + 4.0)]


@every_reduction
def test_gradcheck_to_x(reduce: Reduce) -> None:
    for size in [(3, 2), (2, 4), (7, 8)]:
        x, alpha = random_map(1, 2, 6, 5), torch.tensor([2.0, 2.0])
        assert torch.autograd.gradcheck(
            lambda x, alpha=alpha, size=size: dynopool2d(x, alpha, reduce=reduce, size=size), x.requires_grad_()
        )


@every_reduction
def test_gradients_nobody_asked_for_are_not_computed(reduce: Reduce) -> None:
    x, alpha = random_map(1, 2, 6, 6), torch.tensor([2.0, 2.0])
    for needs_x, needs_alpha in [(True, False), (False, True)]:
        leaf, stride = x.clone().requires_grad_(needs_x), alpha.clone().requires_grad_(needs_alpha)
        with torch.autograd.profiler.profile() as profile:
            dynopool2d(leaf, stride, reduce=reduce).sum().backward()
        assert (leaf.grad is not None, stride.grad is not None) == (needs_x, needs_alpha)
        stacks = [event for event in profile.function_events if event.name == "aten::stack"]
        assert bool(stacks) == needs_alpha  # the two slopes are stacked only where they are wanted
    assert not dynopool2d(x, alpha, reduce=reduce).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_winners_are_found_only_where_a_gradient_will_be_asked_for(dtype: torch.dtype) -> None:
    x, alpha = random_map(1, 2, 6, 6, dtype=dtype), torch.tensor([2.0, 2.0])
    operator = torch.ops.dynpool.dynopool2d
    assert operator(x, alpha, 3, 3, "max")[1].numel() == 0
    with torch.no_grad():
        assert operator(x.requires_grad_(), alpha, 3, 3, "max")[1].numel() == 0
    assert operator(x, alpha, 3, 3, "max")[1].shape == (1, 2, 3, 3)
    assert operator(x, alpha, 3, 3, "mean")[1].numel() == 0


def test_x_is_kept_for_the_backward_pass_only_if_alpha_learns() -> None:
    x = random_map(1, 2, 6, 6).requires_grad_()
    for learns in (False, True):
        kept: list[Tensor] = []

        def keep(tensor: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            dynopool2d(x, torch.tensor([2.0, 2.0], requires_grad=learns))
        assert any(t.shape == x.shape for t in kept) == learns


def test_a_second_derivative_is_an_error_not_a_wrong_number() -> None:
    x = random_map(1, 1, 6, 6).requires_grad_()
    (dx,) = torch.autograd.grad(dynopool2d(x, 2.0).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="dynopool2d has first derivatives only"):
        dx.square().sum().backward()


def test_results_are_bitwise_reproducible() -> None:
    x, alpha = random_map(8, 5, 31, 29, dtype=torch.float32), torch.tensor([1.7, 2.3])
    first = gradients(x, alpha, "max")
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(x, alpha, "max"), strict=True))


# ---------------------------------------------------------------------------------------------------------- layouts


@every_reduction
@pytest.mark.parametrize("layout", ["channels_last", "permuted", "sliced", "sliced channels_last"])
@pytest.mark.parametrize("size", [(4, 5), (5, 3), (8, 10), (13, 12)])
def test_layout_changes_no_value(reduce: Reduce, layout: str, size: Any) -> None:
    x, alpha = random_map(2, 3, 8, 10), torch.tensor([1.5, 2.5])
    plain = gradients(x, alpha, reduce, size)
    other = gradients(laid_out(x, layout), alpha, reduce, size)
    assert torch.equal(plain[0], other[0])
    assert torch.equal(plain[1], other[1])
    torch.testing.assert_close(plain[2], other[2])
    is_last = other[0].is_contiguous(memory_format=torch.channels_last)
    assert is_last == ("channels_last" in layout)
    assert is_last or other[0].is_contiguous()


@every_reduction
@pytest.mark.parametrize("make", [lambda dy: dy.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1), Tensor.expand_as])
def test_gradient_of_any_layout_is_accepted(reduce: Reduce, make: Callable) -> None:
    x = random_map(2, 3, 8, 10).requires_grad_()
    y = dynopool2d(x, 2.0, reduce=reduce)
    dy = make(random_map(*y.shape)) if make is not Tensor.expand_as else torch.ones(()).double().expand_as(y)
    (dx,) = torch.autograd.grad(y, x, dy, retain_graph=True)
    (expected,) = torch.autograd.grad(y, x, dy.contiguous())
    assert torch.equal(dx, expected)
    assert dx.is_contiguous()


@every_reduction
def test_output_never_shares_memory_with_the_input(reduce: Reduce) -> None:
    x = random_map(1, 1, 6, 6)
    for alpha in (1.0, 2.0):
        y = dynopool2d(x, alpha, reduce=reduce)
        assert y.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()


@every_reduction
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 8, 8), (2, 3, 1, 1), (0, 3, 8, 8), (3, 8, 8)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_follows_may_work_in_place(
    reduce: Reduce, dtype: torch.dtype, shape: tuple[int, ...], channels_last: bool
) -> None:
    x, alpha = random_map(*shape, dtype=dtype), torch.tensor([2.0, 1.5], requires_grad=True)
    x = x.to(memory_format=torch.channels_last) if channels_last and len(shape) == 4 else x
    sizes: list[tuple[int, int] | None] = [None, (4, 4), (shape[-2], shape[-1])]  # a whole multiple, and as it is
    for size in sizes:
        expected = torch.autograd.grad(dynopool2d(x, alpha, reduce=reduce, size=size).relu().sum(), alpha)
        found = torch.autograd.grad(dynopool2d(x, alpha, reduce=reduce, size=size).relu_().sum(), alpha)
        assert torch.equal(found[0], expected[0])


@every_reduction
def test_three_dimensions_are_one_sample(reduce: Reduce) -> None:
    x, alpha = random_map(3, 8, 9), torch.tensor([2.0, 2.0])
    single, batch = gradients(x, alpha, reduce), gradients(x[None], alpha, reduce)
    assert single[0].shape == (3, 4, 4)
    torch.testing.assert_close(single[0], batch[0][0])


@every_reduction
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8), (0, 8, 8)])
def test_empty_batches_and_channels_pass(reduce: Reduce, shape: tuple[int, ...]) -> None:
    y, dx, dalpha = gradients(torch.empty(shape), torch.tensor([2.0, 1.5]), reduce)
    assert y.shape == (*shape[:-2], 4, 5)
    assert dx.shape == shape
    assert dalpha.tolist() == [0.0, 0.0]


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("shape", [(8,), (8, 8), (1, 1, 1, 8, 8)])
def test_wrong_rank_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape \(.*\): expected \(N, C, H, W\) or \(C, H, W\)"):
        dynopool2d(torch.zeros(shape), 2.0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_wrong_dtype_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"x of shape \(1, 1, 4, 4\) has dtype .*: expected one of float16"):
        dynopool2d(torch.zeros(1, 1, 4, 4, dtype=dtype), 2.0)


def test_something_other_than_a_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="x is a list: expected a tensor"):
        dynopool2d([[1.0]], 2.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 1, 0, 4), (1, 4, 0)])
def test_empty_spatial_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape .*: expected at least 1 pixel along height and width"):
        dynopool2d(torch.zeros(shape), 2.0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("make", [float, lambda v: (2.0, v), torch.tensor, lambda v: torch.tensor([v, 2.0])])
def test_alpha_must_be_finite_and_positive(value: float, make: Callable) -> None:
    with pytest.raises(ValueError, match=r"alpha=.*expected one or two \(height, width\) finite positive numbers"):
        dynopool2d(torch.zeros(1, 1, 4, 4), make(value))


@pytest.mark.parametrize("alpha", [(2.0,), (2.0, 2.0, 2.0), ()])
def test_alpha_of_wrong_length_is_refused(alpha: Any) -> None:
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"alpha=.* for x of shape \(1, 1, 4, 4\): expected one or two"):
        dynopool2d(x, alpha)
    with pytest.raises(ValueError, match=rf"alpha has shape \({len(alpha)},.*expected \(2,\) or \(\)"):
        dynopool2d(x, torch.tensor(alpha))


@pytest.mark.parametrize("alpha", ["2", None, True, ("2", 2.0), (True, 2.0), torch.tensor([2, 2])])
def test_alpha_of_wrong_type_is_refused(alpha: Any) -> None:
    with pytest.raises(TypeError, match="alpha"):
        dynopool2d(torch.zeros(1, 1, 4, 4), alpha)


def test_alpha_on_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is on meta for x of shape .* on cpu: expected the same device"):
        dynopool2d(torch.zeros(1, 1, 4, 4), torch.ones(2, device="meta"))


@pytest.mark.parametrize("alpha", [2.0, (2.0, 1.19)])
def test_an_alpha_of_numbers_never_waits_for_the_device(alpha: float | tuple[float, float]) -> None:
    # nothing can be copied to, or read from, the meta device: as while a CUDA graph is captured
    x = torch.empty(1, 2, 12, 25, device="meta", requires_grad=True)
    y = dynopool2d(x, alpha)
    assert y.shape == dynopool2d(torch.zeros(1, 2, 12, 25), alpha).shape
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.device.type == "meta"


def test_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduce='median': expected one of 'max', 'mean', 'sample'"):
        dynopool2d(torch.zeros(1, 1, 4, 4), 2.0, reduce="median")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(0, 2), (2, -1), (2,), (2, 2, 2)])
def test_size_must_be_two_positive_integers(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size=\(.*\) for x of shape \(1, 1, 4, 4\): expected \(H_out, W_out\)"):
        dynopool2d(torch.zeros(1, 1, 4, 4), 2.0, size=size)


@pytest.mark.parametrize("size", [2, (2.0, 2), "22", (True, 2), torch.tensor([2, 2])])
def test_size_of_wrong_type_is_refused(size: Any) -> None:
    with pytest.raises(TypeError, match=r"size=.*two integers from 1 to"):
        dynopool2d(torch.zeros(1, 1, 4, 4), 2.0, size=size)


def test_the_smallest_accepted_input_and_size() -> None:
    assert dynopool2d(torch.ones(1, 1, 1), 1e-9, size=(1, 1)).tolist() == [[[1.0]]]
