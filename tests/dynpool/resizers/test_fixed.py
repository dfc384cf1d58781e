"""Fixed resizers: the values of the operator in plain PyTorch, infinite and NaN pixels included."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

import dynpool
from dynpool.resizers import fixed


@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (5, 7), (3, 11)])
def test_a_fixed_pool_has_the_values_of_the_operator(size: tuple[int, int], reduce: str) -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = dynpool.dynopool2d(x, 2.0, reduce=reduce, size=size)  # type: ignore[arg-type]
    pool = dynpool.FixedPool2d((2, 2), reduce=reduce)  # type: ignore[arg-type]
    torch.testing.assert_close(pool(x, size), expected)
    assert pool(x).shape == (2, 3, 2, 2)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes are constants of a trace
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_infinite_and_nan_pixels_stay_within_their_cells(reduce: Literal["max", "mean", "sample"], dtype) -> None:
    """As in the operator: compared over sizes that go up, down and by whole numbers, eager, traced and compiled."""
    torch.manual_seed(0)
    for hw, size in [((8, 8), (5, 5)), ((7, 12), (3, 6)), ((5, 4), (9, 8)), ((1, 6), (2, 4)), ((9, 8), (3, 3))]:
        x = torch.randn(2, 3, *hw)
        for value in (float("inf"), -float("inf"), float("nan")):
            x[torch.rand(x.shape) < 0.15] = value
        x[0, 0, : hw[0] // 2] = -float("inf")  # a masked region
        x = x.to(dtype)
        expected = dynpool.dynopool2d(x, 2.0, reduce=reduce, size=size)
        pool = dynpool.FixedPool2d(size, reduce=reduce)
        for found in (pool(x), pool(x[0]).unsqueeze(0), torch.jit.trace(pool, x, check_trace=False)(x)):
            assert found.dtype == dtype
            torch.testing.assert_close(found, expected[: len(found)], equal_nan=True)


def test_finite_maps_are_interpolated_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that is right for infinite values takes several times as long."""
    calls = []
    monkeypatch.setattr(fixed, "_queried", lambda *args: calls.append(args))
    dynpool.FixedPool2d((5, 5))(torch.randn(1, 2, 8, 8))
    assert not calls


@pytest.mark.parametrize(
    ("strides", "error"), [((0, 1), ValueError), (float("nan"), ValueError), ("x", TypeError), ((1, 2, 3), ValueError)]
)
def test_bad_strides_are_named(strides, error) -> None:
    with pytest.raises(error, match="strides="):
        fixed.FixedStrides2d(strides)
