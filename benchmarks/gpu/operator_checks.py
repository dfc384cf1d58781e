"""Checks of the public operator: gradients, reproducibility, streams, devices, compilation, graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import dynpool
from benchmarks.gpu.checking import NotHere, close, equal, needs_cuda, require
from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map
from dynpool.resizers.kernels import reference

__all__ = [
    "alpha_as_a_float",
    "alpha_in_bfloat16",
    "autograd",
    "compiled_operator",
    "deterministic",
    "graph_of_the_operator",
    "maps",
    "second_device",
    "side_stream",
]

ALPHA, TIMES = 1.3, 10
_MAP = Map((8, 64, 28, 28), (22, 22), torch.bfloat16, "channels_last")
_FLOAT = Map((8, 64, 28, 28), (22, 22), torch.float32)
Results = tuple[Tensor, Tensor, Tensor]


def maps() -> Iterator[Map]:
    """What is pooled here; without winners where a result has no gradient."""
    yield from (Map(one.shape, one.size, one.dtype, one.strides, uses=("both", "forward")) for one in (_MAP, _FLOAT))


def _leaves(one: Map, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """x and alpha, whose gradients are wanted, and the gradient to the result."""
    x, dy = one.tensors(device)
    return x.requires_grad_(), torch.full((2,), ALPHA, device=device, requires_grad=True), dy


def _results(x: Tensor, alpha: Tensor, dy: Tensor) -> Results:
    """y and the gradients to x and alpha."""
    y = dynpool.dynopool2d(x, alpha, size=(dy.shape[2], dy.shape[3]))
    dx, dalpha = torch.autograd.grad(y, (x, alpha), dy)
    return y.detach(), dx, dalpha


def autograd(context: Context) -> str:
    """Values and gradients are those of the reference in float64."""
    said = []
    for one in (_MAP, _FLOAT):
        x, alpha, dy = _leaves(one, context.device)
        found = _results(x, alpha, dy)
        with torch.no_grad():
            _, winner = torch.ops.dynpool.dynopool2d(x, alpha, *one.size, "max", True)
        exact_x = x.detach().cpu().double()
        y, _ = reference.forward(exact_x, one.size, "max")
        dx, spread = reference.backward(dy.cpu().double(), exact_x, winner.cpu(), (28, 28), "max", True)
        if dx is None or spread is None:
            raise RuntimeError("the reference gave no gradients")
        eps = torch.finfo(one.dtype).eps
        said.append(close("y dx dalpha", found, (y, dx, spread * (28 / 22 / ALPHA) ** 2 / 4), max(eps, 1e-5)))
    return "; ".join(said)


def deterministic(context: Context) -> str:
    """Many times the same bits, under PyTorch's deterministic algorithms, which refuse what is not."""
    leaves = _leaves(_MAP, context.device)
    torch.use_deterministic_algorithms(True)
    try:
        first = _results(*leaves)
        for _ in range(TIMES):
            equal("y dx dalpha", _results(*leaves), first)
    finally:
        torch.use_deterministic_algorithms(False)
    return f"{TIMES} times the same bits"


def alpha_as_a_float(context: Context) -> str:
    """Alpha given as a number computes what it does as a tensor."""
    x, alpha, dy = _leaves(_MAP, context.device)
    expected = _results(x, alpha, dy)
    y = dynpool.dynopool2d(x, ALPHA)
    equal("y dx", (y.detach(), *torch.autograd.grad(y, x, dy)), expected[:2])
    return ""


def alpha_in_bfloat16(context: Context) -> str:
    """An alpha that was cast with the model has a gradient too, rounded once."""
    x, _, dy = _leaves(_MAP, context.device)
    alphas = [torch.full((2,), 1.25, device=context.device, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)]
    found, expected = (_results(x, alpha.requires_grad_(), dy) for alpha in alphas)
    require(found[2].dtype == torch.bfloat16, f"the gradient is of {found[2].dtype}")
    return close("y dx dalpha", found, expected, torch.finfo(torch.bfloat16).eps)


def side_stream(context: Context) -> str:
    """On another stream, behind work that is still queued there, results are the same."""
    needs_cuda(context)
    leaves = _leaves(_MAP, context.device)
    expected = _results(*leaves)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(leaves[0])
        for _ in range(50):
            late = late * 0.5 + leaves[0].detach() * 0.5  # x itself only after some of these
        late.copy_(leaves[0])
        found = _results(late.detach().requires_grad_(), *leaves[1:])
    stream.synchronize()
    equal("y dx dalpha", found, expected)
    return ""


def second_device(context: Context) -> str:
    """On a device that is not the current one, results are the same."""
    needs_cuda(context)
    if torch.cuda.device_count() < 2:
        raise NotHere("there is one GPU only")
    expected = _results(*_leaves(_MAP, context.device))
    equal("y dx dalpha", _results(*_leaves(_MAP, "cuda:1")), expected)
    return ""


def _surrounded(x: Tensor, alpha: Tensor) -> Tensor:
    """The operator with something to fuse around it."""
    return dynpool.dynopool2d(x * 2, alpha, size=_MAP.size).float().square().sum()


def compiled_operator(context: Context) -> str:
    """Compiled by Inductor as one graph, gradients are those without."""
    x, alpha, _ = _leaves(_MAP, context.device)
    compiled: Callable[[Tensor, Tensor], Tensor] = torch.compile(_surrounded, fullgraph=True)
    found = torch.autograd.grad(compiled(x, alpha), (x, alpha))
    return close("dx dalpha", found, torch.autograd.grad(_surrounded(x, alpha), (x, alpha)), 2e-2)


def graph_of_the_operator(context: Context) -> str:
    """Both passes captured as a CUDA graph and replayed on other values."""
    needs_cuda(context)
    x, alpha, dy = _leaves(_MAP, context.device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            _results(x, alpha, dy)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = _results(x, alpha, dy)
    with torch.no_grad():
        x.copy_(x.flip(0))
        dy.mul_(-2)
    graph.replay()
    torch.cuda.synchronize()
    equal("y dx dalpha", found, _results(x, alpha, dy))
    return ""
