"""The frozen mixture on its own: values, gradients, limits and errors."""

import math
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import nn

from dynpool.baselines import FixedShapeAdaptor2d, shape_adaptor2d
from tests.baselines.shape_adaptor.formula import mixed

SHAPE = (2, 3, 11, 14)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
def test_frozen_values_and_gradients(reduce: Any, align_corners: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 9, 7, dtype=torch.float64, requires_grad=True)
    fixed = FixedShapeAdaptor2d((5, 6), 0.37, kernel=(3, 2), reduce=reduce, align_corners=align_corners)
    y = fixed(x)
    torch.testing.assert_close(y, mixed(x.detach(), 0.37, (5, 6), reduce, align_corners, (3, 2)), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(fixed, (x,))
    assert not list(fixed.parameters())


def test_frozen_window_is_cut_to_the_map() -> None:
    x = torch.randn(1, 1, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(
        FixedShapeAdaptor2d((1, 3), 0.5)(x), mixed(x, 0.5, (1, 3), "max", True), rtol=0, atol=1e-12
    )


def test_frozen_compiled_and_in_bfloat16() -> None:
    torch.manual_seed(0)
    x, fixed = torch.randn(SHAPE), FixedShapeAdaptor2d((8, 11), 0.6)
    torch.testing.assert_close(torch.compile(fixed, backend="aot_eager", fullgraph=True)(x), fixed(x))
    torch._dynamo.reset()
    half = x.bfloat16().to(memory_format=torch.channels_last)
    y = fixed(half)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    error = (y.double() - mixed(half, 0.6, (8, 11), "max", True)).abs()
    assert (error <= torch.finfo(torch.bfloat16).eps * half.double().abs().max()).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 2)}, r"size=\(0, 2\)"),
        ({"size": (2.0, 2)}, r"size=\(2.0, 2\)"),
        ({"size": (2,)}, r"size=\(2,\)"),
        ({"weight": -0.1}, "weight=-0.1: expected a number from 0 to 1"),
        ({"weight": 1.5}, "weight=1.5"),
        ({"weight": math.nan}, "weight=nan"),
        ({"kernel": (0, 1)}, r"kernel=\(0, 1\)"),
        ({"reduce": "median"}, "reduce='median'"),
    ],
)
def test_frozen_names_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        FixedShapeAdaptor2d(**{"size": (2, 2), "weight": 0.5, **arguments})


def test_frozen_takes_arguments_at_their_limits_and_names_bad_maps() -> None:
    x = torch.randn(1, 1, 4, 4)
    for weight in (0, 1):
        assert FixedShapeAdaptor2d((1, 1), weight, kernel=(1, 1))(x).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"x has shape \(4, 4\)"):
        FixedShapeAdaptor2d((2, 2), 0.5)(x[0, 0])
    with pytest.raises(TypeError, match=r"x is a tensor of torch\.int"):
        FixedShapeAdaptor2d((2, 2), 0.5)(x.long())
    for module, arguments in ((FixedShapeAdaptor2d((2, 2), 0.5), {"down": x}), (residual(), {})):
        with pytest.raises(ValueError, match="down must be given with residual=True and only then"):
            module(x, **arguments)
    assert residual()(x, down=x).shape == (1, 1, 2, 2)


def residual() -> nn.Module:
    return FixedShapeAdaptor2d((2, 2), 0.5, residual=True)


def test_a_tensor_of_several_weights_is_refused() -> None:
    x = torch.randn(1, 1, 4, 4)
    with pytest.raises(ValueError, match="weight has 2 values: expected a number from 0 to 1, or a tensor of one"):
        shape_adaptor2d(x, x, torch.tensor([0.1, 0.2]), (2, 2))
