"""The operator on sequences and volumes: values and gradients against a restatement, and what else holds of maps."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dynpool.resizers.functional import Reduce, dynopool1d, dynopool2d, dynopool3d
from dynpool.size_math import output_size
from tests.dynpool.resizers.maps import composition, every_reduction, gradients_of, random_map
from tests.dynpool.resizers.restated import restated

quick = settings(deadline=None, max_examples=20)
OPERATORS: dict[int, Callable[..., Tensor]] = {1: dynopool1d, 3: dynopool3d}
both = pytest.mark.parametrize("axes", [1, 3])
extent = st.integers(1, 5)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


# ------------------------------------------------------------------------------------------------------- definition


def assert_restated(
    shape: Sequence[int], size: Sequence[int], alpha: Sequence[float], reduce: Reduce, seed: int, *, bitwise: bool
) -> None:
    operator = OPERATORS[len(size)]
    x, dy = random_map(1, 2, *shape, seed=seed), random_map(1, 2, *size, seed=seed + 1)
    if bitwise:  # small whole numbers, of which many are equal
        x, dy = (4 * x).round(), (4 * dy).round()
    strides = torch.tensor(alpha, dtype=torch.float64)
    found = gradients_of(lambda x, a: operator(x, a, reduce=reduce, size=tuple(size)), x, strides, dy)
    expected = restated(x[0].numpy(), alpha, size, reduce, dy[0].numpy())
    for ours, theirs in zip((found[0][0], found[1][0], found[2]), expected, strict=True):
        if bitwise:
            assert torch.equal(ours, torch.from_numpy(theirs))
        else:
            torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-9)


@every_reduction
@both
@quick
@given(st.data())
def test_values_and_both_gradients_equal_the_restatement(reduce: Reduce, axes: int, data: st.DataObject) -> None:
    numbers = st.lists(extent, min_size=axes, max_size=axes)
    strides = st.lists(st.floats(0.3, 5.0), min_size=axes, max_size=axes)
    shape, size, alpha = data.draw(numbers), data.draw(numbers), data.draw(strides)
    assert_restated(shape, size, alpha, reduce, data.draw(st.integers(0, 99)), bitwise=False)


@every_reduction
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (5,), (8,), (16,), (23,)])
@pytest.mark.parametrize("size", [(1,), (2,), (4,), (8,)])
def test_a_height_of_one_is_exact_bit_for_bit(reduce: Reduce, shape: Sequence[int], size: Sequence[int]) -> None:
    """Where no sum is rounded, as the queries lie at binary fractions of a pixel, nothing may differ at all."""
    for seed in range(3):
        assert_restated(shape, size, (2.0,), reduce, seed, bitwise=True)


@every_reduction
@pytest.mark.parametrize("shape", [(2, 3, 4), (4, 4, 4), (1, 5, 2)])
@pytest.mark.parametrize("size", [(1, 2, 4), (2, 2, 2), (4, 1, 2)])
def test_three_axes_are_exact_bit_for_bit(reduce: Reduce, shape: Sequence[int], size: Sequence[int]) -> None:
    assert_restated(shape, size, (2.0, 0.5, 4.0), reduce, 0, bitwise=True)


@both
@quick
@given(st.data())
def test_they_are_interpolate_and_pool_at_the_size_that_alpha_gives(axes: int, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 9), min_size=axes, max_size=axes))
    alpha = data.draw(st.lists(st.floats(0.4, 6.0), min_size=axes, max_size=axes))
    x = random_map(2, 3, *shape).requires_grad_()
    size = [output_size(n, a) for n, a in zip(shape, alpha, strict=True)]
    for reduce in ("max", "mean"):
        y = OPERATORS[axes](x, torch.tensor(alpha, dtype=torch.float64), reduce=reduce)
        expected = composition(x, size, reduce)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
        dy = torch.randn_like(y)
        ours, theirs = (torch.autograd.grad(map_, x, dy)[0] for map_ in (y, expected))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@both
@pytest.mark.parametrize("dtype", DTYPES)
def test_alpha_two_on_even_sizes_is_pooling_and_striding_by_two(axes: int, dtype: torch.dtype) -> None:
    x, operator = random_map(2, 3, *(8, 6, 4)[:axes], dtype=dtype), OPERATORS[axes]
    assert torch.equal(operator(x, 2.0), F.max_pool1d(x, 2) if axes == 1 else F.max_pool3d(x, 2))
    assert torch.equal(operator(x, 2.0, reduce="sample"), x[..., ::2] if axes == 1 else x[..., ::2, ::2, ::2])
    whole = x.mul(4).round()  # sums of integers are exact in every order
    averaged = F.avg_pool1d(whole.float(), 2) if axes == 1 else F.avg_pool3d(whole.float(), 2)
    assert torch.equal(operator(whole, 2.0, reduce="mean").float(), averaged)


@both
@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [(8, 5, 6), (11, 13, 9)])
def test_errors_are_at_most_twice_those_of_pytorch_at_the_same_dtype(
    axes: int, reduce: Reduce, dtype: torch.dtype, size: Any
) -> None:
    shape, size = (17, 10, 9)[:axes], size[:axes]
    x, dy = random_map(3, 8, *shape).to(dtype), random_map(3, 8, *size, seed=1).to(dtype)
    results = {}
    for name, precision in {"exact": torch.float64, "eager": dtype}.items():
        leaf = x.to(precision).requires_grad_()
        y = composition(leaf, size, reduce)
        results[name] = (y.detach().double(), torch.autograd.grad(y, leaf, dy.to(precision))[0].double())
    leaf = x.clone().requires_grad_()
    ours = OPERATORS[axes](leaf, 2.0, reduce=reduce, size=size)
    dx = torch.autograd.grad(ours, leaf, dy)[0]
    assert (ours.dtype, dx.dtype) == (dtype, dtype)
    for found, eager, exact in zip((ours.detach(), dx), results["eager"], results["exact"], strict=True):
        assert (found.double() - exact).abs().max() <= 2 * (eager - exact).abs().max()


@every_reduction
@both
def test_gradcheck_to_x(reduce: Reduce, axes: int) -> None:
    for size in [(3, 2, 1), (2, 4, 3)]:
        x = random_map(1, 2, *(5, 3, 2)[:axes]).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x, size=size[:axes]: OPERATORS[axes](x, 2.0, reduce=reduce, size=size), x
        )


@every_reduction
def test_a_volume_that_does_not_change_along_its_depth_is_a_map(reduce: Reduce) -> None:
    x, alpha = random_map(2, 3, 7, 9), torch.tensor([1.7, 2.3], dtype=torch.float64)
    dy = random_map(2, 3, 4, 5, seed=1)
    y, dx, dalpha = gradients_of(lambda x, a: dynopool2d(x, a, reduce=reduce, size=(4, 5)), x, alpha, dy)
    deep = x.unsqueeze(2).expand(-1, -1, 4, -1, -1).contiguous()
    strides = torch.cat([alpha.new_ones(1), alpha])
    ours = gradients_of(lambda x, a: dynopool3d(x, a, reduce=reduce, size=(1, 4, 5)), deep, strides, dy.unsqueeze(2))
    torch.testing.assert_close(ours[0].squeeze(2), y)
    torch.testing.assert_close(ours[1].sum(2), dx)
    torch.testing.assert_close(ours[2][1:], dalpha)
    assert ours[2][0].abs() < 1e-12


@both
def test_nan_and_infinity_stay_within_their_cells(axes: int) -> None:
    x = random_map(1, 1, *(12,) * axes)
    place = (0, 0, *(2,) * axes)
    clean = x.clone()
    clean[place] = 0.0
    for value in (math.inf, math.nan):
        x[place] = value  # ratio 6: queries on pixels 1, 4, 7, 10, samples on 0 and 6
        for reduce in ("max", "mean", "sample"):
            size = (2,) * axes
            assert torch.equal(*(OPERATORS[axes](m, 2.0, reduce=reduce, size=size) for m in (x, clean)))
    y = OPERATORS[axes](x, 2.0)  # and reach those whose queries weigh them
    assert y.isnan().nonzero().tolist() == [[0, 0, *(1,) * axes]]


# ------------------------------------------------------------------------------------------------- shapes and layouts


@every_reduction
@both
def test_without_a_batch_it_is_one_sample_and_empty_batches_pass(reduce: Reduce, axes: int) -> None:
    x, operator = random_map(3, *(8, 9, 5)[:axes]), OPERATORS[axes]
    torch.testing.assert_close(operator(x, 1.7, reduce=reduce), operator(x[None], 1.7, reduce=reduce)[0])
    for shape in [(0, 3), (2, 0), (0,)]:
        empty, alpha = torch.zeros(*shape, *(8, 9, 5)[:axes]), torch.full((axes,), 2.0)
        size = [output_size(n, 2.0) for n in (8, 9, 5)[:axes]]
        dy = torch.zeros(*shape, *size)
        y, dx, dalpha = gradients_of(lambda x, a: operator(x, a, reduce=reduce), empty, alpha, dy)
        assert (y.shape, dx.shape, dalpha.tolist()) == (dy.shape, empty.shape, [0.0] * axes)


@every_reduction
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["channels last", "sliced"])
def test_layout_changes_no_value_and_is_kept(reduce: Reduce, dtype: torch.dtype, layout: str) -> None:
    x, alpha, size = random_map(2, 3, 6, 5, 8, dtype=dtype), torch.tensor([1.5, 2.0, 2.5]), (4, 3, 3)
    if layout == "channels last":
        other = x.to(memory_format=torch.channels_last_3d)
    else:
        other = torch.zeros(2, 3, 6, 5, 16, dtype=dtype)[..., ::2].copy_(x)
    dy = random_map(2, 3, *size, dtype=dtype, seed=1)
    plain, kept = (
        gradients_of(lambda x, a: dynopool3d(x, a, reduce=reduce, size=size), m, alpha, dy) for m in (x, other)
    )
    for ours, theirs in zip(plain, kept, strict=True):
        torch.testing.assert_close(ours, theirs)
    last = layout == "channels last"
    for result in kept[:2]:
        assert result.is_contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


def test_sequences_of_tokens_keep_their_layout() -> None:
    tokens = random_map(2, 9, 4)  # (N, L, C)
    y = dynopool1d(tokens.transpose(1, 2), 1.7)
    assert torch.equal(y, dynopool1d(tokens.transpose(1, 2).contiguous(), 1.7))
    assert y.transpose(1, 2).is_contiguous()


@both
def test_alpha_and_size_may_be_numbers_or_tensors(axes: int) -> None:
    x, operator = random_map(2, 3, *(8, 6, 4)[:axes]), OPERATORS[axes]
    expected = operator(x, 2.0)
    for alpha in (2, [2.0] * axes, (2,) * axes, torch.tensor(2.0), torch.full((axes,), 2.0), torch.tensor(2.0).half()):
        assert torch.equal(operator(x, alpha), expected)
    assert torch.equal(operator(x, 2.0, size=tuple(expected.shape[2:])), expected)
    assert torch.equal(dynopool1d(random_map(3, 8), 2.0, size=4), dynopool1d(random_map(3, 8), 2.0, size=(4,)))


def test_alpha_is_depth_height_and_width() -> None:
    assert dynopool3d(random_map(1, 1, 24, 24, 24), (2.0, 3.0, 4.0)).shape == (1, 1, 12, 8, 6)


# ------------------------------------------------------------------------------------------------ as PyTorch sees it


@every_reduction
def test_opcheck(reduce: Reduce) -> None:
    operator = torch.ops.dynpool.dynopool3d.default
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for needs in (False, True):
            x = random_map(2, 3, 5, 4, 6, dtype=dtype).requires_grad_(needs)
            alpha = torch.full((3,), 2.0).requires_grad_(needs)
            for layout in (torch.contiguous_format, torch.channels_last_3d):
                leaf = x.detach().to(memory_format=layout).requires_grad_(needs)
                torch.library.opcheck(operator, (leaf, alpha, 3, 2, 3, reduce))
    x, alpha = random_map(2, 3, 5, 4, 6), torch.full((3,), 2.0)
    y, winner = operator(x, alpha, 3, 2, 3, reduce, True)
    backward = torch.ops.dynpool.dynopool3d_backward.default
    for last in (False, True):
        torch.library.opcheck(backward, (y, x, alpha, winner, 5, 4, 6, reduce, True, last))
    torch.library.opcheck(backward, (y, None, None, winner, 5, 4, 6, reduce, True, False))
    torch.library.opcheck(torch.ops.dynpool.output_sizes_of_axes.default, (alpha, [5, 4, 6], 0.0, math.inf))


@both
def test_fake_tensors_have_the_shapes_and_strides_of_real_ones(axes: int) -> None:
    x, size = random_map(2, 3, *(8, 6, 5)[:axes]), (3, 4, 2)[:axes]
    for last in (False, True):
        x = x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x
        y = OPERATORS[axes](x, 2.0, size=size)
        with FakeTensorMode() as mode:
            fake = OPERATORS[axes](mode.from_tensor(x), 2.0, size=size)
        assert (fake.shape, fake.stride(), fake.dtype) == (y.shape, y.stride(), y.dtype)


@every_reduction
@both
def test_vmap_and_torch_func(reduce: Reduce, axes: int) -> None:
    shape, size, operator = (7, 5, 4)[:axes], (3, 4, 2)[:axes], OPERATORS[axes]
    maps, alpha = random_map(3, 2, 4, *shape), torch.full((axes,), 1.7)
    weights = random_map(3, 2, 4, *size, seed=1)

    def run(x: Tensor, alpha: Tensor = alpha) -> Tensor:
        return operator(x, alpha, reduce=reduce, size=size)

    def loss(x: Tensor, w: Tensor, alpha: Tensor = alpha) -> Tensor:
        return (run(x, alpha) * w).sum()

    assert torch.equal(torch.func.vmap(run)(maps), torch.stack([run(x) for x in maps]))
    copies = torch.func.vmap(lambda a: run(maps[0], a))(torch.rand(3, axes) + 1)
    assert torch.equal(copies, run(maps[0]).expand(3, *[-1] * (axes + 2)))
    for x, w, dx, dalpha in zip(
        maps, weights, *torch.func.vmap(torch.func.grad(loss, (0, 2)), (0, 0, None))(maps, weights, alpha), strict=True
    ):
        _, expected, slope = gradients_of(run, x, alpha, w)
        torch.testing.assert_close(dx, expected)
        torch.testing.assert_close(dalpha, slope)


@both
def test_a_second_derivative_is_an_error_not_a_wrong_number(axes: int) -> None:
    x = random_map(1, 1, *(6,) * axes).requires_grad_()
    (dx,) = torch.autograd.grad(OPERATORS[axes](x, 2.0).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="has first derivatives only"):
        dx.square().sum().backward()


class Sized(nn.Module):
    """Convolution, operator, convolution; the size is given or follows from alpha."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 3: nn.Conv3d}[axes]
        self.first, self.last = conv(2, 3, 3, padding=1), conv(3, 2, 1)
        self.alpha, self.axes = nn.Parameter(torch.full((axes,), 2.0)), axes

    def forward(self, x: Tensor, size: Any = None) -> Tensor:
        return self.last(OPERATORS[self.axes](self.first(x).relu(), self.alpha, size=size))


@both
@pytest.mark.parametrize("given_size", [True, False])
def test_compile_fullgraph_makes_one_graph_for_all_sizes(axes: int, given_size: bool) -> None:
    torch._dynamo.reset()
    model = Sized(axes)
    backend = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, dynamic=given_size or None, backend=backend)
    for step, alpha in enumerate((2.0, 2.7, 1.3)):
        with torch.no_grad():
            model.alpha.fill_(alpha)
        x = random_map(2, 2, *(9, 8, 12)[:axes], dtype=torch.float32)
        size = (4 + step, 5 + 2 * step, 3 + step)[:axes] if given_size else None
        results = []
        for run in (model, compiled):
            model.zero_grad()
            y = run(x, size)
            y.square().sum().backward()
            results.append([y.detach(), *(p.grad for p in model.parameters())])
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)
    assert backend.frame_count == 1


@both
def test_export_with_a_size_from_alpha(axes: int) -> None:
    model = Sized(axes).eval()
    x = random_map(2, 2, *(9, 8, 12)[:axes], dtype=torch.float32)
    exported = torch.export.export(model, (x,), dynamic_shapes={"x": {0: torch.export.Dim("n", min=2)}})
    for n in (2, 3):
        x = random_map(n, 2, *(9, 8, 12)[:axes], dtype=torch.float32)
        torch.testing.assert_close(exported.module()(x), model(x))


# ------------------------------------------------------------------------------------------------------- bad input


@both
def test_bad_maps_are_refused(axes: int) -> None:
    operator, layout = OPERATORS[axes], {1: r"\(N, C, L\) or \(C, L\)", 3: r"\(N, C, D, H, W\) or \(C, D, H, W\)"}[axes]
    for dims in (axes, axes + 3):
        with pytest.raises(ValueError, match=rf"x has shape \(.*\): expected {layout}"):
            operator(torch.zeros((4,) * dims), 2.0)
    with pytest.raises(
        ValueError, match="expected at least 1 pixel along " + {1: "length", 3: "depth, height and"}[axes]
    ):
        operator(torch.zeros(1, 1, *(4, 4, 0)[-axes:]), 2.0)
    with pytest.raises(TypeError, match=rf"x is a list: expected a tensor {layout}"):
        operator([[1.0]], 2.0)
    with pytest.raises(TypeError, match=r"has dtype torch\.int64: expected one of float16"):
        operator(torch.zeros((1, 1) + (4,) * axes, dtype=torch.int64), 2.0)


@both
def test_bad_alphas_are_refused(axes: int) -> None:
    x, operator = torch.zeros((1, 1) + (4,) * axes), OPERATORS[axes]
    allowed = {1: "expected one finite", 3: r"expected one or three \(depth, height, width\) finite"}[axes]
    for value in (0.0, -1.0, math.nan, math.inf):
        for alpha in (value, (value,) * axes, torch.tensor(value), torch.full((axes,), value)):
            with pytest.raises(ValueError, match=rf"alpha=.*{allowed}"):
                operator(x, alpha)
    for alpha in ((2.0, 2.0), ()):
        with pytest.raises(ValueError, match=rf"alpha=.*{allowed}"):
            operator(x, alpha)
        with pytest.raises(ValueError, match=rf"alpha has shape .* expected \({axes},\) or \(\)"):
            operator(x, torch.tensor(alpha))
    for wrong in ("2", None, True):
        with pytest.raises(TypeError, match=rf"alpha=.*{allowed}"):
            operator(x, wrong)


@both
def test_bad_sizes_and_reductions_are_refused(axes: int) -> None:
    x, operator = torch.zeros((1, 1) + (4,) * axes), OPERATORS[axes]
    allowed = {1: "expected L_out, an integer", 3: r"expected \(D_out, H_out, W_out\), three integers"}[axes]
    for size in ((0,) * axes, (2, 2), (-1,) * axes):
        with pytest.raises(ValueError, match=rf"size=.*{allowed} from 1 to"):
            operator(x, 2.0, size=size)
    for wrong in ("2", 2.5, (2.0,) * axes, (True,) * axes):
        with pytest.raises(TypeError, match=rf"size=.*{allowed} from 1 to"):
            operator(x, 2.0, size=wrong)
    with pytest.raises(ValueError, match="reduce='median': expected one of"):
        operator(x, 2.0, reduce="median")


@both
def test_the_smallest_accepted_input_and_size(axes: int) -> None:
    x = torch.ones((1,) * (axes + 1))
    assert OPERATORS[axes](x, 1e-9, size=(1,) * axes).flatten().tolist() == [1.0]
    assert OPERATORS[axes](x, 2.0).shape == (1, *(2,) * axes)  # the floor of 1.5
