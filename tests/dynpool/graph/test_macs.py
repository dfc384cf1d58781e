"""Multiply-accumulates of a recorded pass, with the axes that they grow with."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import dynpool


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1)
    )


def test_macs_are_the_same_with_axes_and_without() -> None:
    graph = dynpool.trace(network(), (3, 16, 16))
    assert {mac.node: mac.macs for mac in graph.macs} == graph.macs_by_node
    assert [len(mac.axes) for mac in graph.macs] == [2, 2, 0]  # height and width, but for the map of one pixel


@pytest.mark.parametrize(
    "name",
    "vgg11 vgg16_bn resnet18 resnet50 resnet152 mobilenetv2_100 efficientnet_b0 tf_efficientnet_b3 densenet121 "
    "convnext_tiny regnetx_002 regnety_016".split(),
)
def test_half_of_the_flop_counter(name: str) -> None:
    model = timm.create_model(name).eval().to("meta")  # older versions cannot make all of them there
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    report = dynpool.count_macs(model, (3, 224, 224))
    assert 2 * report.total == counter.get_total_flops()
    assert report.total == sum(layer.macs for layer in report.layers)


class Sequence(nn.Module):
    """A recurrent layer that reads the columns of a map."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, (32, 3), padding=(0, 1))
        self.layer = getattr(nn, kind)(8, 16, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.conv(x).squeeze(2).transpose(1, 2))[0]
        return out


@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("layers", [1, 3])
def test_recurrent_layers(kind: str, gates: int, ways: int, layers: int) -> None:
    model = Sequence(kind, bidirectional=ways == 2, num_layers=layers)
    step = gates * 16 * (8 + 16) + (layers - 1) * gates * 16 * (ways * 16 + 16)
    assert dynpool.count_macs(model, (1, 32, 50)).total == 50 * 8 * 32 * 3 + 50 * ways * step


def test_projected_states_and_cells() -> None:
    model = Sequence("LSTM", proj_size=5)
    assert dynpool.count_macs(model, (1, 32, 50)).by_layer["layer"] == 50 * (4 * 16 * (8 + 5) + 5 * 16)

    class Cells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(8, 16)

        def forward(self, x: Tensor) -> Tensor:
            h: Tensor = x.new_zeros(len(x), 16)
            for column in x.unbind(2):
                h = self.cell(column, h)
            return h

    assert dynpool.count_macs(Cells(), (8, 20)).total == 20 * 3 * 16 * (8 + 16)


class OneDimension(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv1d(4, 8, 5, 2, 2, groups=2), nn.ConvTranspose1d(8, 6, 4, 2, 1))


class ThreeDimensions(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.ConvTranspose3d(2, 4, 2, 2, groups=2), nn.Conv3d(4, 4, 3))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(x)
        q = torch.einsum("nchw,ndhw->ncd", y, y)
        return torch.matmul(q, q) + torch.baddbmm(q, q, q)


@pytest.mark.parametrize(
    ("model", "size"), [(OneDimension(), (4, 40)), (ThreeDimensions(), (2, 6, 6, 6)), (Attention(), (3, 32, 32))]
)
def test_any_number_of_axes_as_pytorch_counts(model: nn.Module, size: tuple[int, ...]) -> None:
    x = torch.randn(1, *size)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(x)
    report = dynpool.count_macs(model, size)
    assert report.total == flops.get_total_flops() // 2 == dynpool.count_macs(model, inputs=(x,)).total
    assert report.input_size == size
    assert dynpool.count_macs(model, inputs=torch.randn(4, *size)).total == report.total  # of one
