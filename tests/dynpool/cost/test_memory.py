"""Bytes of activations against the tensors that really live while a pass runs, each freed after its last use."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.fx import Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dynpool.cost import find_memory
from dynpool.graph import trace


class Living(TorchDispatchMode):
    """The largest sum of bytes of the storages alive after any operation, apart from those known before."""

    def __init__(self, known: list[Tensor], image: Tensor) -> None:
        super().__init__()
        self.known = {t.untyped_storage()._cdata for t in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0
        self.add(image)

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.alive = {key: held for key, held in self.alive.items() if not held[0].expired()}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return out


class Frugal(Interpreter):
    """Frees every value after its last use, and at once if it has none."""

    def run_node(self, n: Node) -> Any:
        out = super().run_node(n)
        return out if n.users or n.op == "output" else None


@torch.no_grad()
def measured(model: nn.Module, image: Tensor) -> int:
    """The peak of a pass of the same operations in which each tensor is freed after its last use."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        program = make_fx(model)(image)
    weights = [*program.parameters(), *program.buffers()]
    with Living(weights, image) as living:
        Frugal(program, garbage_collect_values=True).run(image)
    return living.peak


class Branches(nn.Module):
    """Views, writes in place and into views, splits, a branch that lives long, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.a(x).relu_()
        left, right = y.chunk(2, 1)
        right = right.contiguous()
        y[:, :, :4] = 0
        z = self.b(left + right)
        return torch.cat([z, y], 1).permute(0, 2, 3, 1).reshape(len(x), -1), z


def transformer() -> nn.Module:
    return nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 32, dropout=0, batch_first=True))


MODELS: list[Callable[[], nn.Module]] = [
    Branches,
    transformer,
    lambda: torchvision.models.ShuffleNetV2([1, 1, 1], [8, 16, 32, 64, 64]),
    lambda: torchvision.models.densenet.DenseNet(8, (2, 2), 16),
]


@pytest.mark.parametrize("build", MODELS)
def test_peak_is_that_of_a_pass_that_frees_each_tensor_after_its_last_use(build: Callable[[], nn.Module]) -> None:
    batch = 3
    image = torch.rand(batch, 3, 64, 64) if build is not transformer else torch.rand(batch, 10, 8, 8)
    model = build().eval()
    memory = find_memory(trace(model, tuple(image.shape[1:]), batch=batch))
    assert memory.peak == measured(model, image)


def test_bytes_are_those_of_the_dtype_and_at_a_place() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten())
    graph = trace(model, (3, 32, 32))
    memory, size = find_memory(graph), 32 * 32 * 4
    pooled = 8 * size // 4
    assert memory.made == (8 * size, 0, pooled + 2 * pooled, 0)  # the pool returns int64 indices as well
    assert memory.held == (11 * size, 11 * size, 11 * size + 3 * pooled, 3 * size + pooled)
    assert memory.peak_at == 2
    half = find_memory(trace(model.half(), (3, 32, 32)))
    assert half.made[0] * 2 == memory.made[0]
    empty = find_memory(trace(nn.Identity(), (3, 32, 32)))
    assert (empty.peak, empty.peak_at) == (0, None)
