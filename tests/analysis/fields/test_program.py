"""A field program gives the fields of a new trace at other sizes."""

from typing import Literal

import pytest
import torch

import dynpool
from dynpool.analysis import receptive_field
from dynpool.analysis.fields.compile import compile_fields
from dynpool.graph.tracer import trace
from dynpool.resolution.tree import resolution_tree
from tests.analysis.fields.models import build


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("tv.resnet18", "after"),
        ("tv.resnet18", "before"),
        ("tv.densenet121", "after"),
        ("timm.efficientnet_b0", "before"),
        ("timm.vgg11", "after"),
        ("tv.convnext_tiny", "before"),
    ],
)
def test_a_program_follows_the_sizes_without_a_new_trace(name: str, order: Literal["after", "before"]) -> None:
    model = dynpool.convert(build(name).to_empty(device="cpu"), (3, 128, 96), order=order)
    program = compile_fields(graph := trace(model, (3, 128, 96)))
    generator = torch.Generator().manual_seed(0)
    tree = resolution_tree(model)
    assert tree is not None
    for _ in range(3):
        with torch.no_grad():
            for resolution in dynpool.resolutions(model).values():
                resolution.alpha.mul_(0.8 + 0.5 * torch.rand(2, generator=generator))
        fresh = receptive_field(model, (3, 128, 96))
        now = program.fields(graph.axis_sizes(tree.sizer((128, 96))))
        assert now.i_min == fresh.i_min
        assert now.i_min_table7 == fresh.i_min_table7
        assert now.i_max == fresh.i_max
        assert now.unproductive == fresh.unproductive
        assert now.underutilized == fresh.underutilized
