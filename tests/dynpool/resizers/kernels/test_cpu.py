"""The fast bodies on a CPU, in C and without a compiler, against the reference in float64."""

import math
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dynpool.resizers.kernels import cpu, reference
from dynpool.resizers.kernels import layout as layouts
from dynpool.resizers.kernels.native import build, launch

REDUCTIONS = ("max", "mean", "sample")
BODIES = {"cpu": cpu, "native": launch}
every_reduction = pytest.mark.parametrize("reduce", REDUCTIONS)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
extent = st.integers(1, 13)
quick = settings(deadline=None, max_examples=25)
Size = tuple[int, int]


@pytest.fixture(params=BODIES, scope="module")
def body(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "native" and "no C compiler" in (build.problem() or ""):
        pytest.skip("no C compiler")
    return BODIES[request.param]


def random_map(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def run(body: ModuleType, x: Tensor, dy: Tensor, reduce: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, winner, the gradient to x and the spread."""
    size, layout = (dy.shape[2], dy.shape[3]), not x.is_contiguous()
    y, winner = body.forward(x, size, reduce)
    dx, spread = body.backward(dy, x, winner, (x.shape[2], x.shape[3]), reduce, True, layout)
    assert dx is not None
    assert spread is not None
    return y, winner, dx, spread


def composed(x: Tensor, dy: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    """y and the gradient to x of PyTorch's own composition."""
    leaf, size = x.detach().requires_grad_(), (2 * dy.shape[2], 2 * dy.shape[3])
    pool = F.max_pool2d if reduce == "max" else F.avg_pool2d
    y = pool(F.interpolate(leaf, size, mode="bilinear", align_corners=False), 2)
    return y.detach(), torch.autograd.grad(y, leaf, dy)[0]


@every_reduction
@quick
@given(extent, extent, extent, extent, st.integers(1, 3), st.sampled_from([1, 3, 16, 19]), st.booleans())
def test_it_equals_the_reference(
    body: ModuleType,
    reduce: str,
    height: int,
    width: int,
    out_h: int,
    out_w: int,
    n: int,
    channels: int,
    channels_last: bool,
) -> None:
    x, dy = random_map(n, channels, height, width), random_map(n, channels, out_h, out_w, seed=1)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    y, winner, dx, spread = run(body, x, dy, reduce)
    exact, _ = reference.forward(x.double(), (out_h, out_w), reduce)
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=2e-6)
    exact_dx, exact_spread = reference.backward(dy.double(), x.double(), winner, (height, width), reduce, True)
    assert exact_spread is not None
    torch.testing.assert_close(dx.double(), exact_dx, rtol=0, atol=1e-5)
    torch.testing.assert_close(spread.double(), exact_spread, rtol=1e-5, atol=1e-4)


@every_layout
@every_reduction
@pytest.mark.parametrize("samples", [2, 0.3, 0.01])
def test_many_blocks_give_what_one_gives(
    reduce: str, samples: float, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = random_map(5, 24, 9, 7).contiguous(memory_format=layout)
    dy = random_map(5, 24, 4, 5, seed=1)
    whole = run(cpu, x, dy, reduce)
    # blocks of two samples or 48 planes, the last one with less; or strips of a sample, down to single rows
    monkeypatch.setattr(layouts, "_CACHE_BYTES", int(samples * 24 * 9 * 7 * 4))
    cut = run(cpu, x, dy, reduce)
    for one, many in zip(whole[:3], cut[:3], strict=True):
        assert torch.equal(one, many)
    torch.testing.assert_close(whole[3], cut[3], rtol=1e-5, atol=1e-4)


@every_layout
@pytest.mark.parametrize("channels", [2, 16])
def test_ties_go_to_the_first_query_and_nan_to_the_last(
    body: ModuleType, layout: torch.memory_format, channels: int
) -> None:
    x = torch.zeros(1, channels, 4, 4).contiguous(memory_format=layout)
    x[0, 0, 0, 1] = math.nan
    x[0, 1, 2:, 2:] = torch.tensor([[0.0, 3.0], [3.0, 3.0]])
    y, winner = body.forward(x, (2, 2), "max")
    assert y[0, 0].isnan().tolist() == [[True, False], [False, False]]
    assert winner[0, 0].tolist() == [[1, 0], [0, 0]]
    assert winner[0, 1].tolist() == [[0, 0], [0, 1]]


@every_reduction
@every_layout
def test_infinite_values_stay_where_they_belong(body: ModuleType, reduce: str, layout: torch.memory_format) -> None:
    x = random_map(1, 16, 12, 12).contiguous(memory_format=layout)
    x[0, 0, 2, 2] = math.inf  # ratio 6: queries on pixels 1, 4, 7, 10, samples on 0 and 6
    clean = x.clone()
    clean[0, 0, 2, 2] = 0.0
    assert torch.equal(body.forward(x, (2, 2), reduce)[0], body.forward(clean, (2, 2), reduce)[0])
    dy = torch.zeros(1, 16, 3, 3)
    dy[0, 0, 0, 0] = math.inf
    _, winner = body.forward(clean, (3, 3), reduce)
    dx, _ = body.backward(dy, None, winner, (12, 12), reduce, True, layout == torch.channels_last)
    assert dx is not None
    assert not dx.isnan().any()
    assert dx[..., 4:, :].eq(0).all()


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [(8, 8), (19, 5), (33, 40)])
def test_errors_are_at_most_twice_those_of_pytorch_at_the_same_dtype(
    body: ModuleType, reduce: str, dtype: torch.dtype, size: Size
) -> None:
    x, dy = random_map(3, 16, 17, 21, dtype=dtype), random_map(3, 16, *size, dtype=dtype, seed=1)
    y, _, dx, _ = run(body, x, dy, reduce)
    exact = composed(x.double(), dy.double(), reduce)
    for ours, theirs, truth in zip((y, dx), composed(x, dy, reduce), exact, strict=True):
        assert ours.dtype == dtype
        assert (ours.double() - truth).abs().max() <= 2 * (theirs.double() - truth).abs().max()


def test_another_default_dtype_changes_nothing(body: ModuleType) -> None:
    x, dy = random_map(1, 4, 9, 7), random_map(1, 4, 5, 3, seed=1)
    found = run(body, x, dy, "max")
    torch.set_default_dtype(torch.float64)
    try:
        again = run(body, x, random_map(1, 4, 5, 3, dtype=torch.float32, seed=1), "max")
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(one.dtype == other.dtype for one, other in zip(found, again, strict=True))


@every_layout
def test_results_are_bitwise_reproducible_and_inputs_are_kept(body: ModuleType, layout: torch.memory_format) -> None:
    x = random_map(4, 20, 31, 29).contiguous(memory_format=layout)
    dy = random_map(4, 20, 14, 17, seed=1)
    copies = x.clone(), dy.clone()
    first = run(body, x, dy, "max")
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, run(body, x, dy, "max"), strict=True))
    assert torch.equal(x, copies[0])
    assert torch.equal(dy, copies[1])


@every_layout
@pytest.mark.parametrize("size", [(16, 12), (13, 15)])
def test_bits_do_not_depend_on_where_the_maps_lie_in_memory(
    body: ModuleType, layout: torch.memory_format, size: Size
) -> None:
    x = random_map(3, 20, 32, 24).contiguous(memory_format=layout)
    dy = random_map(3, 20, *size, seed=1).contiguous(memory_format=layout)
    first = run(body, x, dy, "max")
    for offset in (1, 3, 8):
        moved = [
            torch.empty(each.numel() + offset)[offset:].as_strided(each.shape, each.stride(), offset).copy_(each)
            for each in (x, dy)
        ]
        assert all(torch.equal(a, b) for a, b in zip(first, run(body, moved[0], moved[1], "max"), strict=True))


@every_layout
@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_opposite_infinite_gradients_make_that_to_alpha_nan(
    body: ModuleType, layout: torch.memory_format, size: Size
) -> None:
    x = random_map(2, 16, 8, 8).contiguous(memory_format=layout)
    dy = random_map(2, 16, *size, seed=1)
    dy[0], dy[1] = math.inf, -math.inf
    assert run(body, x, dy, "max")[3].isnan().all()


@pytest.mark.parametrize(
    ("shape", "dtype", "handled"),
    [
        ((2, 3, 224, 224), torch.bfloat16, True),
        ((2, 3, 224, 224), torch.float64, False),
        ((0, 3, 8, 8), torch.float32, False),
        ((1, 1, 4096, 4096), torch.float32, False),
    ],
)
def test_what_it_leaves_to_the_reference(
    body: ModuleType, shape: tuple[int, ...], dtype: torch.dtype, handled: bool
) -> None:
    x = torch.empty(1, dtype=dtype).expand(shape) if 0 not in shape else torch.empty(shape, dtype=dtype)
    assert body.handles(x, shape[2:], (shape[2] // 2, shape[3] // 2)) == handled


@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_only_the_gradient_asked_for_is_given(body: ModuleType, size: tuple[int, int]) -> None:
    x = random_map(1, 2, 8, 8)
    y, winner = body.forward(x, size, "max")
    dx, spread = body.backward(y, x, winner, (8, 8), "max", False, False)
    assert dx is None
    assert spread is not None


# ------------------------------------------------------------------------------------------------------ halved maps


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (3, 6)])
@pytest.mark.parametrize("need_alpha", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_layout
def test_halved_maps_equal_the_reference(
    body: ModuleType, layout: torch.memory_format, dtype: torch.dtype, need_alpha: bool, size: Size
) -> None:
    size_in = (2 * size[0], 2 * size[1])
    x = random_map(3, 17, *size_in).mul(2).round().to(dtype).contiguous(memory_format=layout)  # ties
    dy = random_map(3, 17, *size, dtype=dtype, seed=1)
    y, winner = body.forward(x, size, "max")
    exact_y, exact_winner = reference.forward(x.double(), size, "max")
    assert torch.equal(y, exact_y.to(dtype))
    assert torch.equal(winner, exact_winner)
    given = x if need_alpha else None
    dx, spread = body.backward(dy, given, winner, size_in, "max", True, layout == torch.channels_last)
    exact_dx, exact = reference.backward(dy.double(), x.double(), winner, size_in, "max", True)
    assert dx is not None
    assert exact_dx is not None
    assert torch.equal(dx.double(), exact_dx)
    assert (spread is not None) == need_alpha
    if spread is not None and exact is not None:
        torch.testing.assert_close(spread.double(), exact, rtol=1e-5, atol=1e-4)


@every_layout
def test_halved_maps_with_nan_and_infinities_win_as_in_max_pooling(
    body: ModuleType, layout: torch.memory_format
) -> None:
    x = random_map(2, 16, 8, 8)
    x.view(-1)[::7] = math.inf
    x.view(-1)[::11] = -math.inf
    x[:, 1, ::3, 1::2] = math.nan
    x[:, 2] = math.nan
    x = x.contiguous(memory_format=layout)
    y, winner = body.forward(x, (4, 4), "max")
    exact, index = F.max_pool2d(x, 2, return_indices=True)
    torch.testing.assert_close(y, exact, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(winner, 2 * (index // 8 % 2) + index % 2)


@pytest.mark.parametrize("width", [254, 256, 258, 512])
def test_the_winner_is_found_in_rows_of_any_length(body: ModuleType, width: int) -> None:
    x = random_map(2, 16, 4, width).contiguous(memory_format=torch.channels_last)
    _, index = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(body.forward(x, (2, width // 2), "max")[1], 2 * (index // width % 2) + index % 2)


def test_maps_wider_than_an_int16_counts(body: ModuleType) -> None:
    x, dy = torch.randn(1, 16, 2, 40_000), torch.randn(1, 16, 1, 20_000)
    found = [run(body, x.contiguous(memory_format=layout), dy, "max") for layout in LAYOUTS]
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other) or one is found[0][3]
    torch.testing.assert_close(found[0][3], found[1][3], rtol=1e-4, atol=1e-2)


# ------------------------------------------------------------------------------------------------------- three axes


@every_reduction
@quick
@given(st.lists(st.integers(1, 6), min_size=6, max_size=6), st.sampled_from([1, 3, 16, 19]), st.booleans())
def test_volumes_equal_the_reference(
    body: ModuleType, reduce: str, sides: list[int], channels: int, last: bool
) -> None:
    size_in, size = tuple(sides[:3]), tuple(sides[3:])
    x, dy = random_map(2, channels, *size_in), random_map(2, channels, *size, seed=1)
    if last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    assert body.handles(x, size_in, size)
    y, winner = body.forward(x, size, reduce)
    dx, spread = body.backward(dy, x, winner, size_in, reduce, True, last)
    assert dx is not None
    assert spread is not None
    exact, _ = reference.forward(x.double(), size, reduce)
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=2e-6)
    exact_dx, exact_spread = reference.backward(dy.double(), x.double(), winner, size_in, reduce, True)
    assert exact_spread is not None
    torch.testing.assert_close(dx.double(), exact_dx, rtol=0, atol=1e-5)
    torch.testing.assert_close(spread.double(), exact_spread, rtol=1e-5, atol=1e-4)


@every_reduction
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("samples", [2, 0.3, 0.01])
def test_many_blocks_of_volumes_give_what_one_gives(
    reduce: str, samples: float, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = random_map(3, 20, 5, 6, 7).contiguous(memory_format=layout)
    dy, last = random_map(3, 20, 3, 4, 2, seed=1), layout == torch.channels_last_3d

    def passes() -> tuple[Tensor | None, ...]:
        y, winner = cpu.forward(x, (3, 4, 2), reduce)
        return (y, winner, *cpu.backward(dy, x, winner, (5, 6, 7), reduce, True, last))

    whole = passes()
    monkeypatch.setattr(layouts, "_CACHE_BYTES", int(samples * 20 * 5 * 6 * 7 * 4))
    cut = passes()
    for one, many in zip(whole[:3], cut[:3], strict=True):
        assert one is not None
        assert many is not None
        assert torch.equal(one, many)
    torch.testing.assert_close(whole[3], cut[3], rtol=1e-5, atol=1e-4)
