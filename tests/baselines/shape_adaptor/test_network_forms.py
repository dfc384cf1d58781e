"""Every form of the Shape Adaptor: values, gradients, compilation, bfloat16.

Forms differ in where alpha starts, in how sizes are rounded and in what a memory bound makes of the weight; each is
held to the formula with the weight and size that it should have.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch._dynamo
from torch import Tensor
from torch.func import functional_call

from dynpool.baselines import ShapeAdaptor2d
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
