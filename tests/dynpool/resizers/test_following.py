"""Resizers that follow the size of another resolution."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dynpool
from dynpool.resizers import FixedInterpolate, FollowInterpolate, FollowPool

MAPS = {1: (2, 3, 12), 2: (2, 3, 12, 9), 3: (1, 2, 6, 8, 5)}
SIZES = {1: (5,), 2: (5, 7), 3: (3, 5, 4)}
OPERATORS: dict[int, Any] = {1: dynpool.dynopool1d, 2: dynpool.dynopool2d, 3: dynpool.dynopool3d}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
def test_a_pool_is_the_operator_at_the_size_that_it_is_given(axes, reduce):
    torch.manual_seed(0)
    x, size = torch.randn(MAPS[axes], dtype=torch.float64), SIZES[axes]
    follow = FollowPool(reduce=reduce)
    strides = torch.tensor([n / m for n, m in zip(x.shape[2:], size, strict=True)], dtype=torch.float64)
    expected = OPERATORS[axes](x, strides, reduce=reduce, size=size)
    torch.testing.assert_close(follow(x, size), expected)
    torch.testing.assert_close(follow.frozen(size)(x), expected)


@pytest.mark.parametrize(("size", "by_factor"), [((18, 13), True), ((17, 13), False)])
def test_an_upsampling_steps_by_its_factor_where_that_gives_the_size(size, by_factor):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 12, 9)
    follow = FollowInterpolate.of(nn.Upsample(scale_factor=(1.5, 1.5), mode="bilinear"), 2)
    expected = F.interpolate(x, scale_factor=1.5, mode="bilinear") if by_factor else None
    ratio = F.interpolate(x, size, mode="bilinear")
    assert torch.equal(follow(x, size), ratio if expected is None else expected)
    if expected is not None:
        assert not torch.allclose(expected, ratio), "the two differ, so that this can fail"
    frozen = follow.frozen(size)
    assert isinstance(frozen, FixedInterpolate)
    assert torch.equal(frozen(x), follow(x, size))


def test_whole_factors_and_layers_of_other_kinds_follow_by_the_ratio_of_sizes():
    assert FollowInterpolate.of(nn.Upsample(scale_factor=2, mode="nearest"), 2).factor is None
    behind = FollowInterpolate.of(nn.Conv3d(1, 1, 1), 3)
    assert (behind.mode, behind.align_corners) == ("trilinear", False)
