"""The pure PyTorch body against independent oracles: interpolate + max_pool2d for values, grid_sample for alpha."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dynpool.resizers.kernels import reference
from dynpool.resizers.kernels.reference import taps

KINDS = ("query", "mean", "sample", "slope", "mean slope")
extent = st.integers(1, 14)
Size = tuple[int, int]
quick = settings(deadline=None, max_examples=40)


def random_map(size: Size, seed: int = 0, *, samples: int = 2, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((samples, channels, *size), generator=generator, dtype=torch.float64)


def queries_by_interpolation(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, (2 * size[0], 2 * size[1]), mode="bilinear", align_corners=False)


def pooled_by_pytorch(x: Tensor, size: Size, reduce: str) -> Tensor:
    pool = F.max_pool2d if reduce == "max" else F.avg_pool2d
    return pool(queries_by_interpolation(x, size), 2)


def grid_sample_oracle(
    x: Tensor, alpha: Tensor, size: Size, reduce: str, winner: Tensor, shift: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    """Eq. 1 to 4 written down: queries p +- delta, p constant, delta from the straight-through size, by grid_sample.

    ``shift`` moves all queries by so many pixels, to look at a kink from either side.
    """
    positions = []
    for axis in (0, 1):
        pixels, cells = x.shape[2 + axis], size[axis]
        surrogate = pixels / alpha[axis]
        rounded = surrogate + (cells - surrogate).detach()
        delta = pixels / (4 * rounded)
        centre = (torch.arange(cells, dtype=torch.float64) + 0.5) * pixels / cells - 0.5 + shift[axis]
        u = torch.stack([centre - delta, centre + delta], dim=1)  # (cells, 2)
        positions.append((2 * u + 1) / pixels - 1)
    grids = [
        torch.stack(torch.broadcast_tensors(positions[1][None, :, b], positions[0][:, None, a]), dim=-1)
        for a in (0, 1)
        for b in (0, 1)
    ]
    values = torch.stack(
        [
            F.grid_sample(x, grid.expand(x.shape[0], -1, -1, -1), padding_mode="border", align_corners=False)
            for grid in grids
        ]
    )
    return values.mean(0) if reduce != "max" else values.gather(0, winner.to(torch.int64)[None])[0]


def alpha_gradient_by_oracle(x: Tensor, alpha: Tensor, size: Size, reduce: str, winner: Tensor, dy: Tensor) -> Tensor:
    """Mean of the oracle's gradient with the queries shifted a little either way along the axis in question."""
    gradient = []
    for axis in (0, 1):
        sides = []
        for step in (-1e-9, 1e-9):
            shift = (step, 0.0) if axis == 0 else (0.0, step)
            y = grid_sample_oracle(x, alpha, size, reduce, winner, shift)
            sides.append(torch.autograd.grad(y, alpha, dy)[0][axis])
        gradient.append((sides[0] + sides[1]) / 2)
    return torch.stack(gradient)


def alpha_gradient(x: Tensor, alpha: Tensor, size: Size, reduce: str, winner: Tensor, dy: Tensor) -> Tensor:
    """The gradient to alpha from what ``backward`` returns: delta = H / (4 H_out), dH_out / dalpha = -H / alpha^2."""
    _, spread = reference.backward(dy, x, winner, (x.shape[2], x.shape[3]), reduce, False)
    assert spread is not None
    ratio = torch.tensor([x.shape[2] / size[0], x.shape[3] / size[1]], dtype=torch.float64)
    return spread * ratio.square() / (4 * alpha.detach().square())


# -------------------------------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(extent, extent)
def test_transposed_taps_are_the_transpose(kind: reference.Kind, size_in: int, size_out: int) -> None:
    rows = size_out if kind in ("mean", "sample", "mean slope") else 2 * size_out
    assert torch.equal(dense(kind, size_in, size_out, rows, transposed=False), dense_t(kind, size_in, size_out, rows))


def dense(kind: reference.Kind, size_in: int, size_out: int, rows: int, *, transposed: bool) -> Tensor:
    """The map as a matrix of ``rows`` outputs."""
    found = taps(kind, size_in, size_out, transposed=transposed)
    matrix = torch.zeros(rows, max(size_in, 2 * size_out), dtype=torch.float64)
    for index, weight in zip(found.index, found.weight, strict=True):
        for row, (column, value) in enumerate(zip(index, weight, strict=True)):
            matrix[row, column] += value
    assert not matrix[list(found.empty)].any()
    return matrix


def dense_t(kind: reference.Kind, size_in: int, size_out: int, rows: int) -> Tensor:
    width = max(size_in, 2 * size_out)
    matrix = dense(kind, size_in, size_out, size_in, transposed=True)[:, :rows].t()
    return F.pad(matrix, (0, width - size_in))


@quick
@given(extent, extent)
def test_values_keep_a_constant_and_slopes_vanish_on_it(size_in: int, size_out: int) -> None:
    for kind in KINDS:
        found = taps(kind, size_in, size_out)
        sums = [sum(column) for column in zip(*found.weight, strict=True)]
        assert sums == pytest.approx([0.0 if "slope" in kind else 1.0] * len(sums))


def test_slope_on_a_pixel_is_the_mean_of_both_sides_and_zero_outside() -> None:
    assert dense("slope", 4, 2, 4, transposed=False).tolist() == [
        [0.5, -0.5, 0.0, 0.0],  # u = 0: the map is constant below
        [-0.5, 0.0, 0.5, 0.0],  # u = 1, moving up
        [0.0, 0.5, 0.0, -0.5],  # u = 2, moving down
        [0.0, 0.0, -0.5, 0.5],  # u = 3: constant above
    ]
    assert dense("slope", 2, 2, 4, transposed=False).tolist() == [
        [0.0, 0.0, 0.0, 0.0],  # u = -0.25
        [-1.0, 1.0, 0.0, 0.0],  # u = 0.25
        [1.0, -1.0, 0.0, 0.0],  # u = 0.75
        [0.0, 0.0, 0.0, 0.0],  # u = 1.25
    ]


# ------------------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize("reduce", ["max", "mean"])
@quick
@given(extent, extent, extent, extent, st.integers(0, 99))
def test_values_and_gradient_to_x_equal_interpolate_and_pool(
    reduce: str, height: int, width: int, out_h: int, out_w: int, seed: int
) -> None:
    x, size = random_map((height, width), seed).requires_grad_(), (out_h, out_w)
    y, winner = reference.forward(x.detach(), size, reduce)
    expected = pooled_by_pytorch(x, size, reduce)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    dy = torch.randn_like(y)
    dx, spread = reference.backward(dy, None, winner, (height, width), reduce, True)
    torch.testing.assert_close(dx, torch.autograd.grad(expected, x, dy)[0], rtol=0, atol=1e-12)
    assert spread is None


@quick
@given(extent, extent, extent, extent, st.integers(0, 99))
def test_winner_is_the_first_of_the_largest_queries(height: int, width: int, out_h: int, out_w: int, seed: int) -> None:
    x = random_map((height, width), seed).mul(2).round()  # few distinct values: many ties
    y, winner = reference.forward(x, (out_h, out_w), "max")
    rows = dense("query", height, out_h, 2 * out_h, transposed=False)[:, :height]
    columns = dense("query", width, out_w, 2 * out_w, transposed=False)[:, :width]
    queries = rows @ x @ columns.t()
    cells = queries.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    torch.testing.assert_close(cells.gather(-1, winner.to(torch.int64)[..., None])[..., 0], y, rtol=0, atol=1e-12)
    earlier = torch.arange(4) < winner.to(torch.int64)[..., None]
    assert ((cells < y[..., None] + 1e-12) | ~earlier).all()


def test_alpha_two_on_ties_sends_the_gradient_where_max_pool2d_sends_it() -> None:
    x = torch.tensor([[1.0, 1.0, 0.0, 3.0], [1.0, 1.0, 3.0, 3.0]]).view(1, 1, 2, 4)
    _, winner = reference.forward(x, (1, 2), "max")
    assert winner.tolist() == [[[[0, 1]]]]
    dx, _ = reference.backward(torch.ones(1, 1, 1, 2), None, winner, (2, 4), "max", True)
    assert dx is not None
    assert dx.tolist() == [[[[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]]


@quick
@given(extent, extent, extent, extent, st.integers(0, 99))
def test_sample_interpolates_at_the_first_pixel_of_each_cell(
    height: int, width: int, out_h: int, out_w: int, seed: int
) -> None:
    x = random_map((height, width), seed)
    y, _ = reference.forward(x, (out_h, out_w), "sample")
    u = [min(i * height / out_h, height - 1) for i in range(out_h)]
    v = [min(k * width / out_w, width - 1) for k in range(out_w)]
    expected = torch.empty_like(y)
    for i, row in enumerate(u):
        for k, column in enumerate(v):
            a, b = math.floor(row), math.floor(column)
            p, q = row - a, column - b
            c, d = min(a + 1, height - 1), min(b + 1, width - 1)
            top = (1 - q) * x[..., a, b] + q * x[..., a, d]
            bottom = (1 - q) * x[..., c, b] + q * x[..., c, d]
            expected[..., i, k] = (1 - p) * top + p * bottom
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@quick
@given(st.integers(1, 8), st.integers(1, 8))
def test_alpha_two_on_even_sizes_is_max_pool_average_pool_and_striding(
    dtype: torch.dtype, height: int, width: int
) -> None:
    x = random_map((2 * height, 2 * width)).to(dtype)
    size = (height, width)
    assert torch.equal(reference.forward(x, size, "max")[0], F.max_pool2d(x, 2))
    assert torch.equal(reference.forward(x, size, "sample")[0], x[..., ::2, ::2])
    whole = x.mul(4).round()  # sums of integers are exact in every order
    assert torch.equal(reference.forward(whole, size, "mean")[0], F.avg_pool2d(whole, 2))
    mean, average = reference.forward(x, size, "mean")[0], F.avg_pool2d(x.double(), 2)
    torch.testing.assert_close(mean.double(), average, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


@quick
@given(st.integers(1, 7), st.integers(1, 7), st.integers(2, 9), st.integers(2, 9))
def test_sample_at_a_dividing_stride_is_striding(stride_h: int, stride_w: int, out_h: int, out_w: int) -> None:
    x = random_map((stride_h * out_h, stride_w * out_w)).float()
    y, _ = reference.forward(x, (out_h, out_w), "sample")
    assert torch.equal(y, x[..., ::stride_h, ::stride_w])


@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
def test_same_size_at_alpha_one_keeps_a_constant_map(reduce: str) -> None:
    x = torch.full((1, 2, 5, 7), 3.0)
    assert torch.equal(reference.forward(x, (5, 7), reduce)[0], x)


def test_positions_are_exact_where_float32_arithmetic_is_not() -> None:
    x, size = random_map((1, 5000), samples=1, channels=1), (1, 1500)  # the spacing 5/3 is no binary fraction
    exact = pooled_by_pytorch(x, size, "mean")
    ours = reference.forward(x.float(), size, "mean")[0]
    assert (ours - exact).abs().max() < 1e-6
    assert (pooled_by_pytorch(x.float(), size, "mean") - exact).abs().max() > 1e-4


# ------------------------------------------------------------------------------------------- NaN, infinity, precision


def test_nan_reaches_exactly_the_cells_whose_queries_weigh_it() -> None:
    x = random_map((8, 8), samples=1, channels=1)
    x[0, 0, 3, 5] = math.nan
    y, winner = reference.forward(x, (4, 4), "max")
    assert y.isnan().nonzero().tolist() == [[0, 0, 1, 2]]
    assert winner[0, 0, 1, 2] == 3  # the query that is NaN gets the gradient, as in max_pool2d
    for size in [(3, 5), (5, 3), (11, 9)]:  # no query on a pixel
        expected = pooled_by_pytorch(x, size, "max").isnan()
        assert torch.equal(reference.forward(x, size, "max")[0].isnan(), expected)
        assert torch.equal(reference.forward(x, size, "mean")[0].isnan(), expected)


@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
def test_infinite_pixels_of_zero_weight_have_no_influence(reduce: str) -> None:
    x = random_map((12, 12), samples=1, channels=1)
    x[0, 0, 2, 2] = math.inf  # ratio 6: queries on pixels 1, 4, 7, 10, samples on 0 and 6
    clean = x.clone()
    clean[0, 0, 2, 2] = 0.0
    assert torch.equal(reference.forward(x, (2, 2), reduce)[0], reference.forward(clean, (2, 2), reduce)[0])


def test_minus_infinity_is_a_padding_value() -> None:
    x = torch.full((1, 1, 7, 7), -math.inf)
    x[..., 2:5, 2:5] = 1.0
    y, _ = reference.forward(x, (4, 4), "max")
    assert not y.isnan().any()


def test_infinite_gradients_stay_where_they_belong() -> None:
    dy = torch.zeros(1, 1, 3, 3)
    dy[0, 0, 0, 0] = math.inf
    x = random_map((12, 12), samples=1, channels=1).float()
    for reduce in ("mean", "sample"):
        _, winner = reference.forward(x, (3, 3), reduce)
        dx, _ = reference.backward(dy, None, winner, (12, 12), reduce, True)
        assert dx is not None
        assert not dx.isnan().any()
        assert dx[..., 4:, :].eq(0).all()
        assert dx.isinf().sum() == (16 if reduce == "mean" else 1)


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [(8, 8), (7, 11), (19, 5), (33, 40)])
def test_errors_are_at_most_twice_those_of_pytorch_at_the_same_dtype(
    reduce: str, dtype: torch.dtype, size: Size
) -> None:
    x = random_map((17, 21), samples=3, channels=8).to(dtype)
    dy = random_map(size, 1, samples=3, channels=8).to(dtype)
    results = {}
    for name, precision in {"exact": torch.float64, "eager": dtype}.items():
        leaf = x.to(precision).requires_grad_()
        y = pooled_by_pytorch(leaf, size, reduce)
        results[name] = (y.detach().double(), torch.autograd.grad(y, leaf, dy.to(precision))[0].double())
    y, winner = reference.forward(x, size, reduce)
    dx, _ = reference.backward(dy, None, winner, (17, 21), reduce, True)
    assert dx is not None
    assert (y.dtype, dx.dtype) == (dtype, dtype)
    for ours, eager, exact in zip((y, dx), results["eager"], results["exact"], strict=True):
        assert (ours.double() - exact).abs().max() <= 2 * (eager - exact).abs().max()


# -------------------------------------------------------------------------------------------------- gradient to alpha


@pytest.mark.parametrize("reduce", ["max", "mean"])
@quick
@given(extent, extent, extent, extent, st.floats(0.3, 5.0), st.floats(0.3, 5.0), st.integers(0, 99))
def test_alpha_gradient_is_the_mean_of_the_grid_sample_oracle_from_both_sides(
    reduce: str, height: int, width: int, out_h: int, out_w: int, alpha_h: float, alpha_w: float, seed: int
) -> None:
    x, size = random_map((height, width), seed), (out_h, out_w)
    alpha = torch.tensor([alpha_h, alpha_w], dtype=torch.float64, requires_grad=True)
    y, winner = reference.forward(x, size, reduce)
    dy = torch.randn_like(y)
    expected = alpha_gradient_by_oracle(x, alpha, size, reduce, winner, dy)
    torch.testing.assert_close(alpha_gradient(x, alpha, size, reduce, winner, dy), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("size", [(5, 7), (9, 4), (23, 20)])
def test_alpha_gradient_away_from_kinks_is_plain_autograd_through_grid_sample(reduce: str, size: Size) -> None:
    x = random_map((13, 17))
    alpha = torch.tensor([13 / size[0], 17 / size[1]], dtype=torch.float64, requires_grad=True)
    y, winner = reference.forward(x, size, reduce)
    dy = torch.randn_like(y)
    oracle = grid_sample_oracle(x, alpha, size, reduce, winner)
    torch.testing.assert_close(oracle, y, rtol=0, atol=1e-12)
    expected = torch.autograd.grad(oracle, alpha, dy)[0]
    torch.testing.assert_close(alpha_gradient(x, alpha, size, reduce, winner, dy), expected, rtol=0, atol=1e-11)


def test_alpha_gradient_at_the_kinks_of_alpha_two_by_hand() -> None:
    x = torch.tensor([0.0, 5.0, 1.0, 9.0]).view(1, 1, 1, 4).double()
    _, winner = reference.forward(x, (1, 2), "max")
    dy = torch.tensor([1.0, 1.0]).view(1, 1, 1, 2).double()
    _, spread = reference.backward(dy, x, winner, (1, 4), "max", False)
    # the winners are pixels 1 and 3, both the right query: (x[2] - x[0]) / 2 and (x[3] - x[2]) / 2
    assert spread is not None
    assert spread.tolist() == [0.0, 0.5 + 4.0]


@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@quick
@given(extent, extent, extent, extent, st.integers(0, 99))
def test_alpha_gradient_does_not_change_when_map_and_gradient_are_flipped(
    reduce: str, height: int, width: int, out_h: int, out_w: int, seed: int
) -> None:
    x, size = random_map((height, width), seed), (out_h, out_w)
    dy = random_map(size, seed + 1)
    spreads = []
    for dims in ((), (2,), (3,), (2, 3)):
        flipped = x.flip(dims)
        if reduce == "max":  # a tie has another first query in the mirror
            _, winner = reference.forward(x, size, "max")
            winner = winner.flip(dims) ^ ((2 if 2 in dims else 0) + (1 if 3 in dims else 0))
        else:
            _, winner = reference.forward(flipped, size, reduce)
        _, spread = reference.backward(dy.flip(dims), flipped, winner, (height, width), reduce, False)
        spreads.append(spread)
    for spread in spreads[1:]:
        torch.testing.assert_close(spread, spreads[0], rtol=0, atol=1e-11)


@quick
@given(extent, extent, extent, extent, st.integers(0, 99))
def test_sample_has_the_alpha_gradient_of_mean(height: int, width: int, out_h: int, out_w: int, seed: int) -> None:
    x, dy = random_map((height, width), seed), random_map((out_h, out_w), seed + 1)
    empty = torch.empty(0, dtype=torch.uint8)
    _, sample = reference.backward(dy, x, empty, (height, width), "sample", False)
    _, both = reference.backward(dy, x, empty, (height, width), "sample", True)
    _, mean = reference.backward(dy, x, empty, (height, width), "mean", False)
    assert sample is not None
    assert both is not None
    assert mean is not None
    assert torch.equal(sample, mean)
    assert torch.equal(both, mean)


def test_alpha_gradient_is_the_sum_over_samples() -> None:
    x, dy = random_map((6, 9), samples=4), random_map((3, 4), 1, samples=4)
    _, winner = reference.forward(x, (3, 4), "max")
    _, together = reference.backward(dy, x, winner, (6, 9), "max", False)
    assert together is not None
    apart = [
        reference.backward(dy[n : n + 1], x[n : n + 1], winner[n : n + 1], (6, 9), "max", False)[1] for n in range(4)
    ]
    assert together is not None
    torch.testing.assert_close(together, sum(part for part in apart if part is not None))


def test_neither_pass_changes_its_inputs() -> None:
    x, dy = random_map((8, 8)), random_map((4, 4), 1)
    copies = x.clone(), dy.clone()
    for reduce in ("max", "mean", "sample"):
        _, winner = reference.forward(x, (4, 4), reduce)
        reference.backward(dy, x, winner, (8, 8), reduce, True)
    assert torch.equal(x, copies[0])
    assert torch.equal(dy, copies[1])
