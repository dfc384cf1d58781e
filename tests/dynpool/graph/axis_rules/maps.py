"""Modules that do something with their maps, and the resolution of a map behind a pool."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.graph.ir import Graph


class Then(nn.Module):
    """A pool, then a function of its map."""

    def __init__(self, function: Callable[[Tensor], Tensor], **state: Tensor) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.function = function
        for name, t in state.items():
            self.register_buffer(name, t)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.pool(x))


def pooled(graph: Graph) -> tuple[int, int]:
    h, w = graph.resizes[0].target
    assert h is not None
    assert w is not None
    return h, w


def windows(x: Tensor, size: int = 4) -> Tensor:
    """Attention inside windows, and back to the map."""
    n, c, h, w = x.shape
    cut = x.view(n, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)
    mixed = F.scaled_dot_product_attention(cut, cut, cut)
    back = mixed.view(n, h // size, w // size, size, size, c).permute(0, 5, 1, 3, 2, 4)
    return x + back.reshape(n, c, h, w)


def grid(x: Tensor, size: int = 4) -> Tensor:
    """The same among pixels far apart: as many of them as a window has, each a block away from the next."""
    n, c, h, w = x.shape
    cut = x.view(n, c, size, h // size, size, w // size).permute(0, 3, 5, 2, 4, 1).reshape(-1, size * size, c)
    mixed = F.scaled_dot_product_attention(cut, cut, cut)
    back = mixed.view(n, h // size, w // size, size, size, c).permute(0, 5, 3, 1, 4, 2)
    return x + back.reshape(n, c, h, w)


def padded_windows(x: Tensor) -> Tensor:
    h, w = x.shape[-2:]
    return windows(F.pad(x, (0, -w % 4, 0, -h % 4)))[..., :h, :w]


class Branches(nn.Module):
    """A functional call, a loop, a shared module, a flattening to tokens and back, and a squeeze-and-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.tokens = nn.Linear(4, 4)
        self.squeeze = nn.Conv2d(4, 4, 1)
        self.valid = nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            x = self.shared(x)
        y = self.tokens(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
        y = y * self.squeeze(y.mean((2, 3), keepdim=True)).sigmoid()
        y = F.max_pool2d(x + y, 2)
        return self.valid(y)
