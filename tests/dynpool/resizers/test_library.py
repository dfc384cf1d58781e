"""What autograd makes of the operator besides its values."""

import os
import warnings
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo import compiled_autograd
from torch.utils._python_dispatch import TorchDispatchMode

from dynpool import dynopool2d
from dynpool.resizers import library


class Dispatched(TorchDispatchMode):
    """The names of all operators that are run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_backward_pass_is_one_operator_and_fills_no_memory_for_winners() -> None:
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    alpha = torch.tensor([1.7, 1.3], requires_grad=True)
    y = dynopool2d(x, alpha)
    dy = torch.ones_like(y)
    with Dispatched() as seen:
        torch.autograd.grad(y, (x, alpha), dy)
    assert [name for name in seen.names if "detach" not in name] == ["dynpool.dynopool2d_backward.default"]


def test_nothing_flows_back_from_what_has_no_gradient() -> None:
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, y: Tensor) -> Tensor:
            return y.clone()

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> None:
            return None

    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    alpha = torch.tensor([1.5, 1.5], requires_grad=True)
    Stop.apply(dynopool2d(x, alpha)).sum().backward()
    assert x.grad is None
    assert alpha.grad is None


def test_compiled_autograd_takes_the_backward_pass_into_its_one_graph() -> None:
    gradients = []
    for compiled in (False, True):
        x = torch.randn(1, 2, 6, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
        alpha = torch.tensor([1.5, 1.2], requires_grad=True)
        loss = dynopool2d(x, alpha, size=(4, 5)).square().sum()
        if compiled:
            with compiled_autograd._enable(torch.compile(backend="aot_eager", fullgraph=True)):
                loss.backward()
        else:
            loss.backward()
        gradients.append((x.grad, alpha.grad))
    torch.testing.assert_close(*gradients)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available() or "TRITON_INTERPRET" in os.environ, reason="Triton can be used here")
def test_where_triton_cannot_be_used_one_warning_says_why_and_the_operator_is_plain_pytorch() -> None:
    library._fused.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"Triton is installed but cannot be used \(RuntimeError: 0 active drivers"):
        assert library._fused() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library._fused() is None
    library._fused.cache_clear()
