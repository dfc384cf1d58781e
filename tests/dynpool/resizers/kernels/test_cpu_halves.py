"""Halved maps on a CPU: the same as the reference, ties and infinite values included."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dynpool
from dynpool.resizers.kernels import cpu, reference
from dynpool.resizers.kernels import layout as layouts

every_layout = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])

Size = tuple[int, int]


def random_map(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (3, 6)])
@pytest.mark.parametrize("need_alpha", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cache", [0, 2**20])  # one plane, or one sample, at a time, or all
@every_layout
def test_halved_maps_equal_the_reference(
    layout: torch.memory_format,
    cache: int,
    dtype: torch.dtype,
    need_alpha: bool,
    size: Size,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layouts, "_CACHE_BYTES", cache)
    size_in = (2 * size[0], 2 * size[1])
    x = random_map(3, 17, *size_in).mul(2).round().to(dtype).contiguous(memory_format=layout)  # ties
    dy = random_map(3, 17, *size, dtype=dtype, seed=1)
    y, winner = cpu.forward(x, size, "max")
    exact_y, exact_winner = reference.forward(x.double(), size, "max")
    assert torch.equal(y, exact_y.to(dtype))
    assert torch.equal(winner, exact_winner)
    given = x if need_alpha else None
    dx, spread = cpu.backward(dy, given, winner, size_in, "max", True, layout == torch.channels_last)
    exact_dx, exact = reference.backward(dy.double(), x.double(), winner, size_in, "max", True)
    assert dx is not None
    assert exact_dx is not None
    assert torch.equal(dx.double(), exact_dx)
    assert (spread is not None) == need_alpha
    if spread is not None and exact is not None:
        torch.testing.assert_close(spread.double(), exact, rtol=1e-5, atol=1e-4)


@every_layout
def test_halved_maps_with_nan_and_infinities_win_as_in_max_pooling(layout: torch.memory_format) -> None:
    x = random_map(2, 16, 8, 8)
    x.view(-1)[::7] = math.inf
    x.view(-1)[::11] = -math.inf
    x[:, 1, ::3, 1::2] = math.nan
    x[:, 2] = math.nan
    x = x.contiguous(memory_format=layout)
    y, winner = cpu.forward(x, (4, 4), "max")
    exact, index = F.max_pool2d(x, 2, return_indices=True)
    torch.testing.assert_close(y, exact, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(winner, 2 * (index // 8 % 2) + index % 2)


@pytest.mark.parametrize("width", [254, 256, 258, 512])
def test_the_winner_is_found_in_rows_of_any_length(width: int) -> None:
    x = random_map(2, 16, 4, width).contiguous(memory_format=torch.channels_last)
    _, index = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(cpu.forward(x, (2, width // 2), "max")[1], 2 * (index // width % 2) + index % 2)


def test_maps_wider_than_an_int16_counts():
    x = torch.randn(1, 16, 2, 40_000)
    grad = torch.randn(1, 16, 1, 20_000)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        given = x.to(memory_format=layout, copy=True).requires_grad_()
        dynpool.dynopool2d(given, 2.0, size=(1, 20_000)).backward(grad)
        found.append(given.grad)
    torch.testing.assert_close(*found, rtol=0, atol=0)
