"""Widths that can change only together, and those that cannot change."""

import pytest
from torch import nn

from dynpool.baselines.refinement.widths import Widths
from dynpool.graph.tracer import trace


def test_width_classes_join_combined_maps_and_pin_unsupported_operations() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip
    graph = trace(model, (3, 16, 16))
    widths = Widths(model, graph)
    free = {c.width: (number, c) for number, c in widths.classes.items() if not c.pinned}
    assert set(free) == {8}
    number, here = free[8]
    assert (here.producers, here.consumers, here.per_channel) == (["0"], ["4"], ["1", "3"])
    assert {(c.layer, c.before, c.after) for c in widths.changes({number: 10})} == {
        ("0", (3, 8), (3, 10)),
        ("1", (8,), (10,)),
        ("3", (8,), (10,)),
        ("4", (8, 12), (10, 12)),
    }
    pinned = {c.pinned for c in widths.classes.values()}
    assert {"the image's channels", "the model's output", "aten.convolution in 5"} <= pinned
    output = widths.class_of(graph.nodes[-1].outputs[0])
    assert output is not None
    with pytest.raises(ValueError, match="a width of 5 cannot change: the model's output"):
        widths.changes({output: 6})
