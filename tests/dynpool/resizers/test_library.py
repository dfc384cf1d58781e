"""What PyTorch makes of the operator besides its values: autograd, opcheck, torch.func and compilers."""

import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn
from torch._dynamo import compiled_autograd
from torch.utils._python_dispatch import TorchDispatchMode

from dynpool.resizers import library
from dynpool.resizers.functional import Reduce, dynopool2d
from tests.dynpool.resizers.maps import Size, every_reduction, gradients, laid_out, random_map


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


def test_without_triton_that_is_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    assert library.triton_problem() == "it is not installed"


@every_reduction
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "sliced channels_last", "permuted"])
def test_opcheck_forward_with_gradients(reduce: Reduce, layout: str) -> None:
    x = laid_out(random_map(2, 3, 7, 8, dtype=torch.float32), layout).requires_grad_()
    alpha = torch.tensor([1.7, 2.0], requires_grad=True)
    results = torch.library.opcheck(torch.ops.dynpool.dynopool2d.default, (x, alpha, 4, 5, reduce))
    assert set(results.values()) == {"SUCCESS"}


@every_reduction
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("need_x", "need_alpha"), [(True, True), (True, False), (False, True)])
def test_opcheck_backward(reduce: Reduce, channels_last: bool, need_x: bool, need_alpha: bool) -> None:
    x = random_map(2, 3, 7, 8, dtype=torch.float32)
    alpha = torch.tensor([1.7, 2.0])
    y, winner = torch.ops.dynpool.dynopool2d(x, alpha, 4, 5, reduce, True)
    given = (x, alpha) if need_alpha else (None, None)
    arguments = (torch.randn_like(y), *given, winner, 7, 8, reduce, need_x, channels_last)
    operator = torch.ops.dynpool.dynopool2d_backward.default
    checks = ("test_schema", "test_faketensor")
    assert set(torch.library.opcheck(operator, arguments, test_utils=checks).values()) == {"SUCCESS"}


def test_opcheck_output_sizes() -> None:
    arguments = (torch.tensor([2.0, 3.0]), 9, 12, 0.5, 8.0)
    operator = torch.ops.dynpool.output_sizes.default
    assert set(torch.library.opcheck(operator, arguments).values()) == {"SUCCESS"}
    assert operator(*arguments).tolist() == [4, 4]


def test_maps_that_are_views_of_a_negative_or_of_nothing() -> None:
    x, alpha = random_map(2, 3, 8, 8, dtype=torch.float32).detach(), torch.tensor([1.7, 1.3], requires_grad=True)
    negative = torch._neg_view(x)
    assert torch.equal(dynopool2d(negative, alpha), dynopool2d(-x, alpha))
    leaf = x.clone().requires_grad_()
    y = dynopool2d(leaf, alpha)
    dy = torch.randn(y.shape)
    given = torch.autograd.grad(y, (leaf, alpha), torch._neg_view(dy), retain_graph=True)
    expected = torch.autograd.grad(y, (leaf, alpha), -dy, retain_graph=True)
    assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))
    nothing = torch.autograd.grad(y, (leaf, alpha), torch._efficientzerotensor(y.shape))
    assert all(gradient.eq(0).all() for gradient in nothing)
    assert dynopool2d(torch._efficientzerotensor((1, 2, 8, 8)), alpha).eq(0).all()


@every_reduction
@pytest.mark.parametrize("in_dim", [0, 1, 4])
def test_vmap_over_maps(reduce: Reduce, in_dim: int) -> None:
    maps = random_map(3, 2, 4, 7, 9)
    y = torch.func.vmap(lambda x: dynopool2d(x, (2.0, 1.5), reduce=reduce), in_dims=in_dim)(maps.movedim(0, in_dim))
    assert torch.equal(y, torch.stack([dynopool2d(x, (2.0, 1.5), reduce=reduce) for x in maps]))


@every_reduction
def test_vmap_over_alpha_alone_gives_copies(reduce: Reduce) -> None:
    x, alphas = random_map(2, 4, 7, 9), torch.rand(3, 2) + 1
    y = torch.func.vmap(lambda alpha: dynopool2d(x, alpha, reduce=reduce, size=(3, 4)))(alphas)
    assert torch.equal(y, dynopool2d(x, 2.0, reduce=reduce, size=(3, 4)).expand(3, -1, -1, -1, -1))


@every_reduction
def test_batched_gradients_equal_a_loop(reduce: Reduce) -> None:
    x, alpha = random_map(2, 4, 7, 9).requires_grad_(), torch.tensor([2.3, 1.7], requires_grad=True)
    y = dynopool2d(x, alpha, reduce=reduce)
    dy = random_map(5, *y.shape)
    dx, dalpha = torch.autograd.grad(y, (x, alpha), dy, is_grads_batched=True, retain_graph=True)
    for k in range(5):
        one_x, one_alpha = torch.autograd.grad(y, (x, alpha), dy[k], retain_graph=True)
        assert torch.equal(dx[k], one_x)
        torch.testing.assert_close(dalpha[k], one_alpha)


@every_reduction
def test_torch_func_gives_the_gradients_of_autograd(reduce: Reduce) -> None:
    x, alpha = random_map(2, 4, 7, 9), torch.tensor([2.3, 1.7])
    weights = random_map(2, 4, 3, 5, seed=1)

    def loss(x: Tensor, alpha: Tensor) -> Tensor:
        return (dynopool2d(x, alpha, reduce=reduce, size=(3, 5)) * weights).sum()

    _, dx, dalpha = gradients(x, alpha, reduce, (3, 5))
    for ours, expected in zip(torch.func.grad(loss, (0, 1))(x, alpha), (dx, dalpha), strict=True):
        torch.testing.assert_close(ours, expected)
    # of each sample, and of each sample under a batch inside the differentiated function
    one = torch.func.vmap(torch.func.grad(lambda x, w: (dynopool2d(x, alpha, reduce=reduce, size=(3, 5)) * w).sum()))
    torch.testing.assert_close(one(x, weights), dx)
    inside = torch.func.vmap(lambda x: dynopool2d(x, alpha, reduce=reduce, size=(3, 5)))
    torch.testing.assert_close(torch.func.grad(lambda x: (inside(x) * weights).sum())(x), dx)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.func.grad(lambda x: torch.func.grad(loss, 1)(x, alpha).sum())(x)


class Sized(nn.Module):
    """Convolution, operator, convolution, with the size given from outside."""

    def __init__(self, reduce: Reduce) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.alpha = nn.Parameter(torch.tensor([2.0, 2.0]))
        self.reduce = reduce

    def forward(self, x: Tensor, size: Size | None) -> Tensor:
        return self.last(dynopool2d(self.first(x).relu(), self.alpha, reduce=self.reduce, size=size))


def assert_same_gradients(model: nn.Module, compiled: Callable, x: Tensor, size: Size | None) -> None:
    results = []
    for run in (model, compiled):
        model.zero_grad()
        leaf = x.clone().requires_grad_()
        y = run(leaf, size)
        y.square().sum().backward()
        results.append([y.detach(), leaf.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


@every_reduction
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_compile_fullgraph_with_dynamic_sizes_makes_one_graph(reduce: Reduce, layout: str) -> None:
    torch._dynamo.reset()
    model = Sized(reduce)
    backend = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    for shape, size in [((2, 3, 16, 14), (8, 7)), ((3, 3, 12, 16), (5, 9)), ((5, 3, 9, 20), (4, 8))]:
        assert_same_gradients(model, compiled, laid_out(random_map(*shape, dtype=torch.float32), layout), size)
    assert backend.frame_count == 1


@pytest.mark.parametrize("capture", [True, False])
def test_compile_fullgraph_with_sizes_from_alpha_makes_one_graph(capture: bool) -> None:
    torch._dynamo.reset()
    model = Sized("max")
    backend = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    with torch._dynamo.config.patch(capture_scalar_outputs=capture):
        compiled = torch.compile(model, fullgraph=True, backend=backend)
        for alpha in (2.0, 2.7, 1.3, 0.6):
            with torch.no_grad():
                model.alpha.fill_(alpha)
            assert_same_gradients(model, compiled, random_map(2, 3, 16, 14, dtype=torch.float32), None)
    assert backend.frame_count == 1


def test_sizes_given_as_numbers_compile_two_graphs_if_they_start_to_change_together_else_one_when_dynamic() -> None:
    for dynamic, graphs in [(None, 2), (True, 1)]:
        torch._dynamo.reset()
        model = Sized("max")
        backend = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend=backend)
        x = random_map(2, 3, 44, 42, dtype=torch.float32)
        for step in range(20):
            height = 24 - step if dynamic is None else 24 - step // 3
            compiled(x, (height, 3 + step)).square().sum().backward()
        assert backend.frame_count == graphs


def test_compile_with_inductor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # code cached by an earlier version of the library calls the operator with the arguments it had then
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    x, alpha = random_map(2, 3, 16, 14, dtype=torch.float32).requires_grad_(), torch.tensor([2.0, 2.0]).requires_grad_()
    compiled = torch.compile(dynopool2d, fullgraph=True, dynamic=True)
    for size in [(8, 7), (5, 9)]:
        ours = torch.autograd.grad(dynopool2d(x, alpha, size=size).square().sum(), (x, alpha))
        theirs = torch.autograd.grad(compiled(x, alpha, size=size).square().sum(), (x, alpha))
        torch.testing.assert_close(theirs, ours)


def test_a_bad_alpha_is_refused_in_compiled_code_too() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(dynopool2d, fullgraph=True, backend="eager")
    with pytest.raises(ValueError, match=r"alpha=\[-1\.0, 2\.0\].*finite positive numbers"):
        compiled(torch.zeros(1, 1, 8, 8), torch.tensor([-1.0, 2.0]))


@pytest.mark.parametrize("size", [None, (5, 9)])
def test_export_with_dynamic_batch_and_sizes(size: Any) -> None:
    model = Sized("max").eval()
    n, h, w = (torch.export.Dim(name, min=2) for name in "nhw")
    shapes = {"x": {0: n, 2: h, 3: w}, "size": None if size is None else (None, None)}
    exported = torch.export.export(model, (random_map(2, 3, 16, 14, dtype=torch.float32), size), dynamic_shapes=shapes)
    for shape in [(2, 3, 16, 14), (3, 3, 21, 10)]:
        x = random_map(*shape, dtype=torch.float32)
        torch.testing.assert_close(exported.module()(x, size), model(x, size))
