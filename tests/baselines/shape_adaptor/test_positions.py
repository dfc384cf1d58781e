"""Layers between which adaptors can stand: convolutions and blocks in order, with what resizes in each."""

import pytest
import torch
from torch import Tensor, nn

from dynpool.baselines.shape_adaptor.positions import find_layers, layers_that_keep
from dynpool.graph.tracer import trace

SIZE = (3, 32, 32)


class Block(nn.Module):
    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1)
        self.short = nn.Identity() if stride == 1 else nn.Conv2d(channels, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) + self.short(x)).relu()


def blocks() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1), nn.Sequential(Block(4), Block(4, 2)), nn.Sequential(Block(4), Block(4)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 2, 1)
    )


def test_sequences_are_entered_and_other_modules_are_one_block() -> None:
    layers = find_layers(blocks(), trace(blocks(), SIZE))
    assert [(layer.path, layer.block) for layer in layers] == [
        ("0", False), ("1.0", True), ("1.1", True), ("2.0", True), ("2.1", True),
    ]  # fmt: skip
    assert [len(layer.resizes) for layer in layers] == [0, 0, 2, 0, 0]
    assert [layer.next for layer in layers] == ["1.0", "1.1", "2.0", "2.1", None]


def test_a_pool_belongs_to_the_layer_before_it() -> None:
    layers = find_layers(plain(), trace(plain(), SIZE))
    assert [(layer.path, [r.path for r in layer.resizes]) for layer in layers] == [
        ("0", []), ("2", ["3"]), ("4", ["4"]),
    ]  # fmt: skip


def test_layers_that_keep_are_blocks_but_the_first_or_where_there_are_none_convolutions() -> None:
    assert [layer.path for layer in layers_that_keep(find_layers(blocks(), trace(blocks(), SIZE)))] == ["2.0", "2.1"]
    assert [layer.path for layer in layers_that_keep(find_layers(plain(), trace(plain(), SIZE)))] == ["0"]


def test_nothing_stands_where_a_shortcut_runs_past() -> None:
    class Around(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self[1](self[0](x)), x], 1)

    model = Around(nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1))
    assert [layer.next for layer in find_layers(model, trace(model, SIZE))] == [None, None]


def test_layers_that_overlap_are_refused() -> None:
    class Outer(nn.Module):
        """Runs a layer of another's in the middle."""

        def __init__(self, other: nn.Module) -> None:
            super().__init__()
            self.first, self.last, self.others = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), [other]

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.others[0](self.first(x)))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 3, 1)
            self.outer = Outer(self.inner)

        def forward(self, x: Tensor) -> Tensor:
            return self.outer(x)

    model = Model()
    with pytest.raises(ValueError, match="outer and the next layer overlap in order of execution"):
        find_layers(model, trace(model, SIZE))
