"""Models by the name of their library, and small ones of a few operations."""

from collections.abc import Callable

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F


def build(name: str) -> nn.Module:
    """A model by library and name, without memory for its weights."""
    lib, _, model = name.partition(".")
    with torch.device("meta"):
        return getattr(torchvision.models, model)() if lib == "tv" else timm.create_model(model)


class Block(nn.Module):
    """A residual block whose shortcut is a strided 1x1 convolution."""

    def __init__(self, stride: tuple[int, int]) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(4, 4, (3, 5), padding=(1, 2), groups=4), nn.Conv2d(4, 4, 3, stride=stride, padding=1)
        )
        self.short = nn.Conv2d(4, 4, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.short(x))


SIZE = (4, 16, 20)


class Written(nn.Module):
    """`write` is given two maps, of a field of 3 and of 7 pixels; a convolution looks at what it returns."""

    def __init__(self, write: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.second = nn.Conv2d(4, 4, 5, padding=2, bias=False)
        self.last = nn.Conv2d(4, 2, 1, bias=False)
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        return self.last(self.write(a * 1, self.second(a)))
