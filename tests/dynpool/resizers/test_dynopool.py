"""The module: what it computes, shows and refuses, and how it compiles."""

import functools
import math
from typing import Any

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from torch import Tensor, nn

from dynpool.resizers.dynopool import DynOPool, DynOPool2d, set_alpha
from dynpool.resizers.functional import Reduce, dynopool2d


def write(pool: DynOPool2d, *values: float) -> None:
    """What an optimiser's step does to alpha."""
    with torch.no_grad():
        pool.shared_alpha().copy_(torch.tensor(values))


def held(pool: DynOPool2d) -> list[float]:
    return pool.shared_alpha().tolist()


def test_one_class_two_names() -> None:
    assert DynOPool is DynOPool2d


@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
def test_forward_is_the_function(reduce: Reduce) -> None:
    pool, x = DynOPool2d((1.5, 2.5), reduce=reduce), torch.randn(2, 3, 9, 10)
    assert torch.equal(pool(x), dynopool2d(x, (1.5, 2.5), reduce=reduce))
    assert torch.equal(pool(x[0]), dynopool2d(x[0], (1.5, 2.5), reduce=reduce))
    assert pool(x, (4, 7)).shape == (2, 3, 4, 7)


def test_new_pool_is_max_pooling_by_two() -> None:
    x = torch.randn(2, 3, 8, 10)
    assert torch.equal(DynOPool2d()(x), F.max_pool2d(x, 2))


def test_gradient_reaches_the_parameter() -> None:
    pool, x = DynOPool2d(2.0), torch.randn(2, 3, 8, 10)
    alpha = torch.tensor([2.0, 2.0], requires_grad=True)
    pool(x).square().sum().backward()
    dynopool2d(x, alpha).square().sum().backward()
    assert pool.alpha is not None
    assert pool.alpha.grad is not None
    assert pool.alpha.grad.abs().min() > 0
    torch.testing.assert_close(pool.alpha.grad, alpha.grad)


def test_repr_shows_alpha_reduction_bounds_and_tie() -> None:
    first = DynOPool2d((2, 1.5), reduce="mean")
    assert repr(first) == "DynOPool2d(alpha=(2, 1.5), reduce='mean', bounds=(0.125, 2))"
    assert repr(DynOPool2d(tied_to=first)).endswith("alpha=(2, 1.5), reduce='max', bounds=(0.125, 2), tied)")
    assert "alpha=(meta)" in repr(DynOPool2d().to("meta"))


class Stack(nn.Module):
    """Two pools, the second tied to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = DynOPool2d(2.0, bounds=(0.25, 1.0))
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.second = DynOPool2d(tied_to=self.first, reduce="mean")

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.conv(self.first(x)))


def test_compile_fullgraph_makes_one_graph_for_all_alphas() -> None:
    torch._dynamo.reset()
    model, x = Stack(), torch.randn(2, 3, 24, 24)
    backend = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for alpha in (2.0, 3.1, 1.4):
        write(model.first, alpha, 2.0)
        gradients = []
        for run in (compiled, model):
            model.zero_grad()
            y = run(x)
            y.square().sum().backward()
            gradients.append((y.detach(), model.first.shared_alpha().grad, model.conv.weight.grad))
        torch.testing.assert_close(gradients[0], gradients[1])
    assert backend.frame_count == 1


class Pools(nn.Module):
    """Two pools between convolutions, whose sizes follow from what they learn."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))
        self.first, self.second = DynOPool2d(1.3), DynOPool2d(1.7)

    def forward(self, x: Tensor) -> Tensor:
        for conv, pool in zip(self.convs, (self.first, self.second), strict=False):
            x = pool(conv(x).relu())
        return self.convs[-1](x)


@functools.cache
def convolutions_take_open_sizes() -> bool:
    """Whether PyTorch compiles a convolution of a map whose size it cannot know; on a CPU, torch 2.11 does not."""

    def plain(n: Tensor) -> Tensor:
        size = int(n.item())
        torch._check(size >= 2)
        return torch.nn.functional.conv2d(n.new_ones((1, 4, size, size)), n.new_ones((4, 4, 3, 3)), padding=1)

    try:
        with torch._dynamo.config.patch(capture_scalar_outputs=True):
            torch.compile(plain, fullgraph=True, backend="aot_eager")(torch.tensor(8.0))
    except torch._dynamo.exc.UserError:
        return False
    return True


@pytest.mark.parametrize("together", [False, True])
def test_a_training_run_whose_sizes_change_twenty_times_compiles_one_graph(together: bool) -> None:
    """Where PyTorch itself ends a graph at the convolution behind a pool there are more, but as many for all sizes."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, whole = Pools(), convolutions_take_open_sizes()
    backend = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=whole, backend=backend)
    x = torch.randn(1, 3, 60, 54)
    seen = set()
    for step in range(30):
        with torch.no_grad():  # each number starts to change at a step of its own, or all at once
            for number, pool in enumerate((model.first, model.second)):
                pool.shared_alpha()[0] += 0.04 * (together or step >= 2 * number)
                pool.shared_alpha()[1] += 0.04 * (together or step >= 2 * number + 1)
        y = compiled(x)
        y.square().sum().backward()
        torch.testing.assert_close(y, model(x))
        seen.add(tuple(y.shape))
        if step == 10:
            graphs = backend.frame_count
    assert len(seen) > 20
    assert backend.frame_count == (1 if whole else graphs)


def test_compiled_sizes_stay_in_bounds() -> None:
    torch._dynamo.reset()
    model = Stack()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    write(model.first, -1e9, 1e9)
    assert compiled(torch.randn(2, 3, 24, 24)).shape == (2, 3, 24, 2)


def test_export() -> None:
    model, x = Stack().eval(), torch.randn(2, 3, 24, 20)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf, 0.49, 8.1, (2.0,), (2.0, 2.0, 2.0), (2.0, 9.0)])
def test_alpha_out_of_range_is_refused(alpha: Any) -> None:
    message = r"alpha=.*: expected one or two \(height, width\) numbers from 0\.5 to 8"
    with pytest.raises(ValueError, match=message):
        DynOPool2d(alpha)
    with pytest.raises(ValueError, match=message):
        set_alpha(DynOPool2d(), alpha)


@pytest.mark.parametrize("alpha", ["2", "22", None, ("a", "b"), ("2", "2"), [None, 2.0]])
def test_alpha_of_wrong_type_is_refused(alpha: Any) -> None:
    with pytest.raises(TypeError, match=r"alpha=.*: expected one or two"):
        DynOPool2d(alpha)


@pytest.mark.parametrize("alpha", [0.5, 8, (0.5, 8.0), [2, 3], torch.tensor([2.0, 3.0])])
def test_alpha_in_range_is_taken(alpha: Any) -> None:
    expected = alpha if not isinstance(alpha, (int, float)) else (alpha, alpha)
    assert held(DynOPool2d(alpha)) == [float(value) for value in expected]


def test_bad_bounds_reduction_and_tie_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bounds=\(2\.0, 1\.0\)"):
        DynOPool2d(bounds=(2.0, 1.0))
    with pytest.raises(ValueError, match=r"bounds=\(0, 1\)"):
        DynOPool2d().bounds = (0, 1)
    with pytest.raises(ValueError, match="reduce='median': expected one of"):
        DynOPool2d(reduce="median")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tied_to is a Linear: expected a DynOPool2d or None"):
        DynOPool2d(tied_to=nn.Linear(1, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(8,), (8, 8), (1, 1, 0, 8), (1, 1, 1, 8, 8)])
def test_bad_maps_are_refused_by_the_function(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x has shape"):
        DynOPool2d()(torch.zeros(shape))
    with pytest.raises(TypeError, match="x is a str: expected a tensor"):
        DynOPool2d()("x")
