"""Converted models whose sizes are as training could have found them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import timm
import torch
from torch import Tensor, nn

import dynpool

SIZE = (3, 64, 64)


def converted(name: str, options: Mapping[str, object] = MappingProxyType({}), **how: object) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **options)
    return dynpool.convert(model, SIZE, **how).eval()  # type: ignore[arg-type]


def learn(model: nn.Module) -> nn.Module:
    """Give every second resolution a size that training could have found."""
    wanted = {}
    for i, (name, found) in enumerate(dynpool.resolutions(model).items()):
        if found.size is not None and found.size[0] >= 8 and i % 2:
            wanted[name] = (found.size[0] + 3, found.size[1] - 2)
    assert wanted
    dynpool.set_sizes(model, wanted)
    return model


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5 * float(b.abs().max()))


class Branches(nn.Module):
    """Two strided layers that meet, and an upsampling that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.right = nn.AvgPool2d(3, 2, 1)
        self.project = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.MaxPool2d(3, 2, 1))
        self.up = nn.Upsample(scale_factor=4, mode="bilinear")

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.left(x)) + self.project(self.right(x))
        return self.up(self.deep(y)) + y
