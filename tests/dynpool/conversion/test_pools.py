"""`pool` of a conversion: a class or function that makes learned resizers of the network's axes."""

from functools import partial
from typing import Any, cast

import pytest
from torch import nn

from dynpool import DynOPool1d, DynOPool2d, DynOPool3d
from dynpool.conversion.pools import check_pool, made

IMAGE = (3, 32, 32)


def test_a_class_or_a_partial_of_the_right_axes_is_accepted():
    check_pool(DynOPool2d, IMAGE)
    check_pool(partial(DynOPool1d, reduce="mean"), (2, 96))
    check_pool(lambda **options: DynOPool3d(**options), IMAGE)  # known only when it is called


@pytest.mark.parametrize("pool", [DynOPool3d, partial(DynOPool3d, reduce="mean")])
def test_a_class_of_other_axes_is_named(pool):
    message = r"pool is a DynOPool3d, for \(depth, height, width\), but input_size=\(3, 32, 32\) has \(height, width\)"
    with pytest.raises(ValueError, match=message):
        check_pool(pool, IMAGE)


def test_what_a_pool_makes_is_checked():
    assert isinstance(made(DynOPool2d, IMAGE, (2.0, 2.0), reduce="max"), DynOPool2d)
    with pytest.raises(ValueError, match=r"pool is a DynOPool1d, for \(length,\)"):
        made(lambda strides: DynOPool1d(strides[0]), IMAGE, (2.0, 2.0))
    with pytest.raises(TypeError, match=r"which made a MaxPool2d, not a LearnedResizer"):
        made(cast(Any, lambda strides: nn.MaxPool2d(2)), IMAGE, (2.0, 2.0))
    with pytest.raises(TypeError, match=r"cannot be called as pool\(strides, reduce=..., bounds=...\)"):
        made(lambda: DynOPool2d(), IMAGE, (2.0, 2.0))
