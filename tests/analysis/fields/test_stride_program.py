"""Strides tried on one trace come to what a new trace of the edited network says."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from dynpool import count_macs
from dynpool.analysis import receptive_field
from dynpool.analysis.fields.compile import compile_fields
from dynpool.analysis.fields.stride_program import StrideProgram
from dynpool.graph.tracer import trace


def program_of(model: nn.Module, size: tuple[int, int, int]) -> StrideProgram:
    graph = trace(model, size, every_window=True)
    return StrideProgram(graph, compile_fields(graph), (size[1], size[2]))


@pytest.mark.parametrize("name", ["vgg11", "resnet50", "mobilenet_v2", "densenet121", "googlenet"])
def test_unchanged_strides_give_the_figures_of_the_network(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, **({"init_weights": False} if name == "googlenet" else {}))
    program = program_of(model, (3, 96, 128))
    outcome = program.evaluate(program.strides[None])
    assert tuple(outcome.i_min[0]) == receptive_field(model, (3, 96, 128)).i_min
    assert outcome.macs[0] == count_macs(model, (3, 96, 128)).total
    assert outcome.agrees[0]


def test_changed_strides_give_the_figures_of_a_new_trace() -> None:
    size = (3, 320, 480)
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 5, 1, 2, groups=4), nn.MaxPool2d(3, 2, 1)]
    layers += [nn.Conv2d(4, 6, 3, dilation=2), nn.Conv2d(6, 6, (1, 7), (1, 2)), nn.AvgPool2d(2)]
    model = nn.Sequential(*layers)
    program = program_of(model, size)
    generator = np.random.default_rng(0)
    strides = generator.integers(1, 4, (20, 6, 2))
    outcome = program.evaluate(strides)
    for row, i_min, macs in zip(strides, outcome.i_min, outcome.macs, strict=True):
        edited = copy.deepcopy(model)
        for layer, pair in zip(edited, row.tolist(), strict=True):
            vars(layer)["stride"] = tuple(pair)
        last = edited[-1]
        assert isinstance(last, nn.AvgPool2d)
        last.kernel_size = (min(int(row[-1][0]), 2), min(int(row[-1][1]), 2))  # at stride 1 it is gone
        assert tuple(i_min) == receptive_field(edited, size).i_min
        assert macs == count_macs(edited, size).total


def test_a_map_transposed_on_its_way_keeps_its_axes() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, 2, 1)
            self.b = nn.Conv2d(4, 4, 3, 1, 1)
            self.c = nn.Conv2d(4, 4, 3, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x).transpose(2, 3)))

    program = program_of(Transposed(), (3, 32, 48))
    strides = np.array([[[2, 2], [1, 1], [1, 1]], [[2, 2], [2, 1], [1, 1]]])
    assert program.evaluate(strides).i_min.tolist() == [[11, 11], [11, 15]]  # rows of the map run along the width


def test_maps_that_no_longer_meet_are_seen() -> None:
    class Meets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 1, 2)
            self.table = nn.Parameter(torch.zeros(1, 4, 16, 16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x)

    class Pinned(Meets):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + self.table

    strides = np.array([[[2, 2], [2, 2]], [[1, 1], [2, 2]], [[1, 1], [1, 1]]])
    assert program_of(Meets(), (3, 32, 32)).evaluate(strides).agrees.tolist() == [True, False, True]
    assert program_of(Pinned(), (3, 32, 32)).evaluate(strides).agrees.tolist() == [True, False, False]


def test_a_window_that_covers_the_map_is_a_layer_once_the_map_grows() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 8), nn.Flatten(2))
    program = program_of(model, (3, 16, 16))
    strides = np.array([[[2, 2], [1, 1]], [[1, 1], [1, 1]]])
    assert program.evaluate(strides).i_min.tolist() == [[3, 3], [10, 10]]
    assert program.evaluate(strides, windows_cover=True).i_min.tolist() == [[3, 3], [3, 3]]
