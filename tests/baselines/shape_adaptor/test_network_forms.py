"""Every form of the Shape Adaptor: values, gradients, compilation, bfloat16; and the frozen one on its own.

Forms differ in where alpha starts, in how sizes are rounded and in what a memory bound makes of the weight; each is
held to the formula with the weight and size that it should have.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.func import functional_call

from dynpool.baselines import FixedShapeAdaptor2d, ShapeAdaptor2d
from dynpool.baselines.shape_adaptor.size_math import shrink_factor
from tests.baselines.shape_adaptor.formula import Size, mixed

SHAPE = (2, 3, 11, 14)


def sigmoid(alpha: float) -> float:
    return 1 / (1 + math.exp(-alpha))


@dataclass(frozen=True)
class Form:
    """An adaptor, and the weight and size that it should have for maps of `SHAPE`."""

    adaptor: Callable[[], ShapeAdaptor2d]
    weight: float
    size: Size


def bounded(alpha: float, *, limit: float, adaptors: int) -> Form:
    """The first of several adaptors whose last size would exceed the limit."""
    s = 0.5 + 0.5 * sigmoid(alpha)
    p = min(1.0, (limit / (14 * s**adaptors)) ** (1 / adaptors))
    assert shrink_factor(limit, 14 * s**adaptors, adaptors) == pytest.approx(p)

    def make() -> ShapeAdaptor2d:
        adaptor = ShapeAdaptor2d(alpha=alpha, limit=limit)
        adaptor.scaled_by((p, p))  # as the network does in front of every pass
        return adaptor

    return Form(make, max((s * p - 0.5) / 0.5, 0.0), (math.floor(11 * s * p), math.floor(14 * s * p)))


FORMS = {
    "standard": Form(lambda: ShapeAdaptor2d(alpha=0.3), sigmoid(0.3), (8, 11)),  # 11, 14 times 0.787, rounded down
    "autosc": Form(  # times 0.950, to the nearest
        lambda: ShapeAdaptor2d(alpha=2.19, bookkeeping="global"), sigmoid(2.19), (10, 13)
    ),
    "autotl": Form(ShapeAdaptor2d, sigmoid(-2.19), (6, 7)),  # times 0.550
    "bounded": bounded(1.0, limit=8, adaptors=2),
}
each = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@each
def test_values_and_size(form: Form) -> None:
    torch.manual_seed(0)
    x, adaptor = torch.randn(SHAPE, dtype=torch.float64), form.adaptor()
    y = adaptor(x, form.size)
    torch.testing.assert_close(y, mixed(x, form.weight, form.size, "max", True), rtol=0, atol=1e-6)  # alpha is float32
    if adaptor.limit is None:  # on its own it is not in a network whose sizes are limited
        assert adaptor(x).shape[-2:] == form.size


@each
def test_gradients_to_the_map_and_to_alpha(form: Form) -> None:
    torch.manual_seed(0)
    adaptor = form.adaptor()
    x = torch.randn(1, 2, *SHAPE[-2:], dtype=torch.float64, requires_grad=True)
    alpha = adaptor.shared_alpha().detach().double().requires_grad_()

    def run(x: Tensor, alpha: Tensor) -> Tensor:
        y: Tensor = functional_call(adaptor, {"alpha": alpha}, (x, form.size))
        return y

    assert torch.autograd.gradcheck(run, (x, alpha))
    (slope,) = torch.autograd.grad(run(x, alpha).square().sum(), alpha)
    assert slope.item() != 0


def test_no_gradient_reaches_alpha_where_the_bound_leaves_it_no_weight() -> None:
    form = bounded(1.0, limit=3, adaptors=2)
    assert form.weight == 0
    adaptor, x = form.adaptor(), torch.randn(SHAPE)
    y = adaptor(x, form.size)
    torch.testing.assert_close(y.double(), mixed(x, 0.0, form.size, "max", True), rtol=1e-5, atol=1e-5)
    y.sum().backward()
    grad = adaptor.shared_alpha().grad
    assert grad is not None
    assert grad.item() == 0


@each
def test_compiled_it_is_the_same(form: Form) -> None:
    torch.manual_seed(0)
    adaptor, x = form.adaptor(), torch.randn(SHAPE, requires_grad=True)
    inputs = [x, adaptor.shared_alpha()]
    y = adaptor(x, form.size)
    expected = torch.autograd.grad(y.square().sum(), inputs)
    compiled = torch.compile(adaptor, backend="aot_eager", fullgraph=True)
    z = compiled(x, form.size)
    torch.testing.assert_close(z, y)
    torch.testing.assert_close(torch.autograd.grad(z.square().sum(), inputs), expected)
    if adaptor.limit is None:  # it finds its own size in the graph
        torch.testing.assert_close(compiled(x), y)
    torch._dynamo.reset()


@each
def test_bfloat16_is_mixed_in_float32(form: Form) -> None:
    torch.manual_seed(0)
    x, adaptor = torch.randn(SHAPE).bfloat16(), form.adaptor().bfloat16()
    y = adaptor(x, form.size)
    assert y.dtype == torch.bfloat16
    assert adaptor.weight().dtype == torch.float32
    exact = mixed(x, form.weight, form.size, "max", True)
    # each branch is rounded once after its interpolation, the mixture once more: half a unit each
    assert ((y.double() - exact).abs() <= torch.finfo(torch.bfloat16).eps * x.double().abs().max()).all()


# --- frozen -----------------------------------------------------------------------------------------------------------


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
