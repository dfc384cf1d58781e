"""DiffStride as a function: values, gradients to the map and to the strides, and what the window does to signals."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch._dynamo.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dynpool.baselines.diffstride.function import diffstride2d
from dynpool.baselines.diffstride.size_math import diffstride_size, least_stride

NORMS = ("backward", "ortho", "forward")


def random_map(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def wave(n: int, frequency: float, phase: float, samples: int | None = None) -> Tensor:
    """A cosine of `frequency` periods over an axis of n pixels, at `samples` evenly spaced points of it."""
    samples = samples or n
    return torch.cos(2 * math.pi * frequency * torch.arange(samples, dtype=torch.float64) / samples + phase)


# ------------------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize("is_symmetric", [False, True])
@pytest.mark.parametrize(
    ("shape", "stride", "smoothness"),
    [
        ((16, 16), (2.0, 2.0), 2.0),  # ties at both ends of the ramp
        ((12, 15), (2.0, 1.7), 1.5),
        ((15, 12), (1.3, 3.0), 1.0),
        ((13, 11), (2.5, 2.0), 2.0),
        ((14, 14), (40.0, 1.0), 3.0),  # the floor of 2, and the least stride
        ((5, 6), (2.0, 2.0), 4.0),
        ((3, 2), (2.0, 2.0), 4.0),  # smaller than the smoothness
        ((1, 9), (2.0, 3.0), 1.0),
        ((9, 1), (3.0, 2.0), 1.0),
        ((1, 1), (2.0, 2.0), 4.0),
    ],
)
def test_values_are_those_of_the_formula(
    shape: tuple[int, int],
    stride: tuple[float, float],
    smoothness: float,
    is_symmetric: bool,
    slow_diffstride: Callable[..., Tensor],
) -> None:
    x = random_map(*shape)
    expected = slow_diffstride(x, stride, smoothness, is_symmetric=is_symmetric)
    y = diffstride2d(x[None], stride, smoothness=smoothness, symmetric=is_symmetric)[0]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(5, 6), (6, 5), (12, 9), (17, 14)])
@pytest.mark.parametrize("shape", [(12, 9), (9, 12)])
def test_symmetric_form_samples_the_interpolant_at_any_size(
    shape: tuple[int, int], size: tuple[int, int], slow_diffstride: Callable[..., Tensor]
) -> None:
    x = random_map(*shape)
    expected = slow_diffstride(x, (1.6, 2.2), 2.0, is_symmetric=True, size=size)
    y = diffstride2d(x[None], (1.6, 2.2), smoothness=2.0, symmetric=True, size=size)[0]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.floats(0.5, 20, width=32), st.floats(0.5, 20, width=32)),
    st.sampled_from([0.5, 1.0, 2.5, 4.0]),
    st.booleans(),
    st.integers(1, 20),
)
def test_any_size_any_stride(
    shape: tuple[int, int], stride: tuple[float, float], smoothness: float, symmetric: bool, other: int
) -> None:
    x = random_map(2, 1, *shape).requires_grad_()
    s = torch.tensor(stride, dtype=torch.float64, requires_grad=True)
    y = diffstride2d(x, s, smoothness=smoothness, symmetric=symmetric)
    assert y.shape[-2:] == diffstride_size(shape, stride, smoothness, symmetric=symmetric)
    given = diffstride2d(x, s, smoothness=smoothness, symmetric=symmetric, size=(y.shape[-2], y.shape[-1]))
    assert torch.equal(given, y)
    total = y.sum() + diffstride2d(x, s, smoothness=smoothness, symmetric=symmetric, size=(other, 21 - other)).sum()
    dx, ds = torch.autograd.grad(total, (x, s))
    assert dx.isfinite().all()
    assert ds.isfinite().all()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_low_frequencies_are_kept_with_a_known_amplitude(norm: str, symmetric: bool) -> None:
    amplitude = {"backward": lambda ratio: ratio, "ortho": math.sqrt, "forward": lambda ratio: 1.0}[norm]
    h, w = diffstride_size((32, 24), (2.0, 3.0), symmetric=symmetric)
    for u, v, phase in [(0, 0, 0.0), (3, 2, 0.4), (8, 4, 1.0), (-7, 1, 2.0)]:  # gains are 1 up to t = 8 and t = 4
        x = wave(32, u, phase)[:, None] * wave(24, v, phase)
        expected = wave(32, u, phase, h)[:, None] * wave(24, v, phase, w) * amplitude(32 * 24 / (h * w))
        y = diffstride2d(x[None], (2.0, 3.0), norm=norm, symmetric=symmetric)[0]  # type: ignore[arg-type]
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("symmetric", [False, True])
def test_ortho_keeps_the_energy_of_the_kept_frequencies(symmetric: bool) -> None:
    x = wave(32, 5, 0.3)[:, None] * wave(32, 4, 1.0) + wave(32, 2, 0.1)
    y = diffstride2d(x[None], 2.0, norm="ortho", symmetric=symmetric)
    torch.testing.assert_close(y.square().sum(), x.square().sum())


@pytest.mark.parametrize("symmetric", [False, True])
def test_stride_one_keeps_everything_where_the_smoothness_covers_the_map(symmetric: bool) -> None:
    for shape in ((4, 4), (3, 4), (2, 2)):
        x = random_map(1, 2, *shape)
        torch.testing.assert_close(diffstride2d(x, 1.0, symmetric=symmetric), x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("symmetric", [False, True])
def test_stride_one_dampens_the_highest_frequencies_of_larger_maps_alone(symmetric: bool) -> None:
    """The least stride n / (n - R) leaves a gain of 1 up to (n - R) / 2, and the size."""
    low = wave(32, 14, 0.3)[:, None] * wave(32, 14, 1.0)
    torch.testing.assert_close(diffstride2d(low[None], 1.0, symmetric=symmetric)[0], low, rtol=0, atol=1e-12)
    high = wave(32, 16, 0.0)[:, None].expand(32, 32)  # d = 16, or 15 by the published count: t = 14
    dampened = diffstride2d(high[None], 1.0, symmetric=symmetric)[0]
    torch.testing.assert_close(dampened, high * (0.5 if symmetric else 0.75), rtol=0, atol=1e-12)


def test_symmetric_form_commutes_with_transposition_and_the_published_one_does_not() -> None:
    x, stride = random_map(2, 3, 14, 19), torch.tensor([1.7, 2.3])
    turned = diffstride2d(x.mT, stride.flip(0), symmetric=True, smoothness=2.0).mT
    torch.testing.assert_close(diffstride2d(x, stride, symmetric=True, smoothness=2.0), turned, rtol=0, atol=1e-13)
    square = random_map(1, 1, 16, 16)
    assert (
        diffstride2d(square.mT, 2.0, smoothness=2.0).mT - diffstride2d(square, 2.0, smoothness=2.0)
    ).abs().max() > 0.1


@pytest.mark.parametrize("symmetric", [False, True])
def test_flipped_maps_come_out_flipped_from_the_symmetric_form_alone(symmetric: bool) -> None:
    """A flip turns frequency +m into -m; the sampling grid starts at pixel 0, so that pixel stays in place."""
    x = random_map(1, 1, 16, 16)
    flip = lambda m: m.roll(-1, -2).flip(-2)  # noqa: E731
    difference = diffstride2d(flip(x), 2.0, smoothness=2.0, symmetric=symmetric) - flip(
        diffstride2d(x, 2.0, smoothness=2.0, symmetric=symmetric)
    )
    assert (difference.abs().max() < 1e-12) == symmetric


def test_without_cropping_the_same_frequencies_remain_at_the_full_size() -> None:
    x = random_map(1, 1, 20, 22)
    y = diffstride2d(x, (2.0, 2.5), smoothness=2.0, cropping=False, symmetric=True)
    assert y.shape == x.shape
    small = diffstride2d(x, (2.0, 2.5), smoothness=2.0, symmetric=True)
    back = diffstride2d(small, 1.0, smoothness=1e-3, symmetric=True, size=(20, 22), norm="backward")
    torch.testing.assert_close(back, y, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    ("shape", "stride", "size"),
    [((12, 10), (1.83, 2.31), None), ((11, 13), (2.2, 1.9), None), ((9, 8), (1.7, 2.3), (10, 11))],
)
def test_gradients_to_the_map_and_the_strides(
    shape: tuple[int, int], stride: tuple[float, float], size: tuple[int, int] | None, symmetric: bool
) -> None:
    x = random_map(1, *shape).requires_grad_()
    s = torch.tensor(stride, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: diffstride2d(x, s, smoothness=2.0, symmetric=symmetric, size=size), (x, s)
    )


def loss_and_slope(x: Tensor, stride: tuple[float, float], **options: object) -> tuple[float, Tensor]:
    s = torch.tensor(stride, dtype=torch.float64, requires_grad=True)
    y = diffstride2d(x, s, **options)  # type: ignore[arg-type]
    loss = (y * random_map(*y.shape, seed=1)).sum()
    (slope,) = torch.autograd.grad(loss, s)
    return loss.item(), slope


@pytest.mark.parametrize("symmetric", [False, True])
def test_where_the_gain_just_reaches_one_the_gradient_is_that_towards_larger_strides(symmetric: bool) -> None:
    x, step = random_map(1, 32, 32), 1e-7
    loss, slope = loss_and_slope(x, (2.0, 2.0), symmetric=symmetric)  # row 8 and column 8 or 9 have d = t
    for axis in (0, 1):
        stride = (2.0 + step, 2.0) if axis == 0 else (2.0, 2.0 + step)
        larger, _ = loss_and_slope(x, stride, symmetric=symmetric)
        assert slope[axis].item() == pytest.approx((larger - loss) / step, rel=1e-5)
        stride = (2.0 - step, 2.0) if axis == 0 else (2.0, 2.0 - step)
        smaller, _ = loss_and_slope(x, stride, symmetric=symmetric, size=diffstride_size((32, 32), (2.0, 2.0)))
        if not symmetric:
            assert slope[axis].item() != pytest.approx((loss - smaller) / step, rel=1e-2)


def test_where_the_gain_just_reaches_zero_the_gradient_is_that_towards_smaller_strides() -> None:
    x, step = wave(32, 13, 0.3).expand(1, 32, 32), 1e-7  # column 13 has d = t + R
    loss, slope = loss_and_slope(x, (2.0, 2.0), cropping=False)
    smaller, _ = loss_and_slope(x, (2.0, 2.0 - step), cropping=False)
    larger, _ = loss_and_slope(x, (2.0, 2.0 + step), cropping=False)
    assert slope[1].item() == pytest.approx((loss - smaller) / step, rel=1e-5)
    assert abs(slope[1].item()) > 0.1
    assert abs(larger - loss) < 1e-12


@pytest.mark.parametrize("n", [32, 7, 4, 1])
def test_strides_below_the_least_count_as_the_least_and_still_get_its_gradient(n: int) -> None:
    least = least_stride(n, 4.0)
    x = random_map(2, n, n)
    loss, slope = loss_and_slope(x, (least, least))
    for stride in (0.5, 1.0):
        below, passed = loss_and_slope(x, (stride, stride))
        assert below == loss
        assert torch.equal(passed, slope)
    assert (slope.abs().min() > 0) == (n > 4)  # nothing is dampened on maps that the smoothness covers


def test_no_gradient_beyond_a_stride_of_half_the_map() -> None:
    x = random_map(1, 16, 16)
    at, slope = loss_and_slope(x, (8.0, 8.0))
    beyond, none = loss_and_slope(x, (9.0, 100.0))
    assert beyond == at
    assert slope.abs().min() > 0
    assert none.tolist() == [0.0, 0.0]


def test_a_shared_stride_gets_the_gradients_of_both_axes() -> None:
    x = random_map(1, 16, 18)
    s = torch.tensor(2.3, dtype=torch.float64, requires_grad=True)
    y = diffstride2d(x, s)
    (slope,) = torch.autograd.grad((y * random_map(*y.shape, seed=1)).sum(), s)
    _, both = loss_and_slope(x, (2.3, 2.3))
    torch.testing.assert_close(slope, both.sum())


def test_per_sample_gradients_by_vmap() -> None:
    x, s = random_map(3, 2, 12, 11), torch.tensor([1.8, 2.2], dtype=torch.float64)
    slopes = torch.func.vmap(
        torch.func.grad(lambda s, x: diffstride2d(x, s, size=(10, 10)).square().sum()), in_dims=(None, 0)
    )(s, x)
    for row, sample in zip(slopes, x, strict=True):
        leaf = s.clone().requires_grad_()
        (slope,) = torch.autograd.grad(diffstride2d(sample, leaf, size=(10, 10)).square().sum(), leaf)
        torch.testing.assert_close(row, slope)


# --------------------------------------------------------------------------------------------------- dtypes, layouts


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, symmetric: bool) -> None:
    x = random_map(2, 3, 17, 20).to(dtype).requires_grad_()
    y = diffstride2d(x, (2.0, 1.5), symmetric=symmetric)
    assert y.dtype == dtype
    assert torch.equal(y, diffstride2d(x.float(), (2.0, 1.5), symmetric=symmetric).to(dtype))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_float32_is_close_to_float64() -> None:
    x = random_map(2, 3, 33, 40)
    close = diffstride2d(x, (2.0, 1.5))
    torch.testing.assert_close(diffstride2d(x.float(), (2.0, 1.5)).double(), close, rtol=0, atol=2e-6)


@pytest.mark.parametrize("symmetric", [False, True])
def test_memory_formats(symmetric: bool) -> None:
    x = random_map(2, 3, 14, 12)
    y = diffstride2d(x, 2.0, symmetric=symmetric)
    assert y.is_contiguous()
    last = diffstride2d(x.to(memory_format=torch.channels_last), 2.0, symmetric=symmetric)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, y)
    wide = random_map(2, 3, 14, 24)
    wide[..., ::2] = x
    torch.testing.assert_close(diffstride2d(wide[..., ::2], 2.0, symmetric=symmetric), y)
    torch.testing.assert_close(diffstride2d(x[1], 2.0, symmetric=symmetric), y[1])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (2, 0, 32, 32), (0, 32, 32)])
def test_empty_batches_have_the_size_of_others_and_no_gradient(shape: tuple[int, ...], symmetric: bool) -> None:
    x, stride = torch.zeros(shape, requires_grad=True), torch.tensor([2.0, 1.5], requires_grad=True)
    y = diffstride2d(x, stride, symmetric=symmetric)
    assert y.shape == (*shape[:-2], *diffstride2d(torch.zeros(1, 32, 32), stride, symmetric=symmetric).shape[-2:])
    dx, dstride = torch.autograd.grad(y.sum(), (x, stride))
    assert dx.shape == shape
    assert dstride.tolist() == [0.0, 0.0]


# ----------------------------------------------------------------------------------------------------------- compile


def assert_same(
    compiled: Callable, x: Tensor, stride: Tensor, size: tuple[int, int] | None, eager: Callable = diffstride2d
) -> None:
    results = []
    for run in (compiled, eager):
        a, s = x.clone().requires_grad_(), stride.clone().requires_grad_()
        y = run(a, s, size=size)
        results.append((y, *torch.autograd.grad(y.square().sum(), (a, s))))
    for ours, theirs in zip(*results, strict=True):
        assert ours.stride() == theirs.stride()
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("symmetric", [False, True])
def test_compiled_gradients(symmetric: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(partial(diffstride2d, symmetric=symmetric), fullgraph=True, backend="aot_eager")
    eager = partial(diffstride2d, symmetric=symmetric)
    x = random_map(2, 3, 16, 20, dtype=torch.float32).to(memory_format=torch.channels_last)
    assert_same(compiled, x, torch.tensor([2.0, 1.5]), (12, 10), eager)


def test_compiles_to_one_graph_for_given_sizes() -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("eager")
    compiled = torch.compile(diffstride2d, fullgraph=True, dynamic=True, backend=counter)
    for side, size in [(16, (12, 10)), (18, (14, 8)), (20, (10, 12))]:
        x = random_map(2, 3, side, side + 4, dtype=torch.float32)
        assert_same(compiled, x, torch.tensor([2.0, 1.5]), size)
    assert counter.frame_count == 1


def test_compiled_code_reads_the_stride_in_between_and_is_not_compiled_anew_for_each() -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("eager")
    compiled = torch.compile(diffstride2d, backend=counter)
    x = random_map(2, 3, 32, 30, dtype=torch.float32)
    for stride in (1.2, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 1.3):
        assert_same(compiled, x, torch.tensor([stride, stride + 0.5]), None)
    assert counter.frame_count <= 4


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        ([[1.0]], {}, TypeError, "x is a list"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.int64), {}, TypeError, "dtype torch.int64"),
        (torch.zeros(8, 8), {}, ValueError, r"shape \(8, 8\)"),
        (torch.zeros(1, 1, 0, 8), {}, ValueError, "at least 1 pixel"),
        (torch.zeros(1, 1, 8, 8), {"stride": "2"}, TypeError, "stride='2'"),
        (torch.zeros(1, 1, 8, 8), {"stride": (2.0,)}, ValueError, r"stride=\(2.0,\)"),
        (torch.zeros(1, 1, 8, 8), {"stride": -1.0}, ValueError, "stride=-1.0"),
        (torch.zeros(1, 1, 8, 8), {"stride": (2.0, math.nan)}, ValueError, "stride="),
        (torch.zeros(1, 1, 8, 8), {"stride": torch.tensor([2, 2])}, TypeError, "dtype torch.int64"),
        (torch.zeros(1, 1, 8, 8), {"stride": torch.ones(3)}, ValueError, r"stride has shape \(3,\)"),
        (torch.zeros(1, 1, 8, 8), {"stride": torch.ones(2, device="meta")}, ValueError, "stride is on meta"),
        (torch.zeros(1, 1, 8, 8), {"stride": torch.tensor([2.0, 0.0])}, ValueError, "stride=0.0"),
        (torch.zeros(1, 1, 8, 8), {"smoothness": 0.0}, ValueError, "smoothness=0.0"),
        (torch.zeros(1, 1, 8, 8), {"norm": "none"}, ValueError, "norm='none'.*'backward'"),
        (torch.zeros(1, 1, 8, 8), {"size": (4.0, 4)}, TypeError, "size="),
        (torch.zeros(1, 1, 8, 8), {"size": (4,)}, ValueError, "size="),
        (torch.zeros(1, 1, 8, 8), {"size": (0, 4)}, ValueError, "size="),
    ],
)
def test_bad_input_is_named(x: Tensor, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        diffstride2d(x, options.pop("stride", 2.0), **options)


def test_good_input_of_every_kind_is_taken() -> None:
    x = torch.zeros(1, 1, 8, 12)
    for stride in (2, 2.0, (2, 3.0), [2.0, 2], torch.tensor(2.0), torch.tensor([2.0]), torch.tensor([2.0, 2.0])):
        assert diffstride2d(x, stride).shape == (1, 1, 8, 12)
    assert diffstride2d(x, 2.0, size=(1, 1)).shape == (1, 1, 1, 1)
