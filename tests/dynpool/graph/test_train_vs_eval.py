"""What training mode demands of resolutions besides eval mode."""

import torch
from torch import Tensor, nn

from dynpool.graph.tracer import trace_compared
from dynpool.graph.train_vs_eval import unite_modes


class Fused(nn.Module):
    """While it trains, the maps of two pools meet; one has a table of its size then."""

    def __init__(self, *, table: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AvgPool2d(2)
        self.table = nn.Parameter(torch.zeros(16, 16)) if table else None

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        if not self.training:
            return a.mean() + b.mean()
        if self.table is not None:
            a = a + self.table
        return self.c(a + b).mean()


def test_maps_that_meet_in_training_mode_alone_share_a_resolution() -> None:
    model = Fused(table=False)
    graph = trace_compared(model, (3, 32, 32))
    a, b = (r.target[0] for r in graph.resizes)
    assert a is not None
    assert b is not None
    assert graph.classes.find(a) != graph.classes.find(b)
    assert unite_modes(model, graph)
    assert graph.classes.find(a) == graph.classes.find(b)
    assert graph.notes == ["c resizes in training mode only, and is left alone"]


def test_what_training_mode_pins_is_pinned_and_says_so() -> None:
    model = Fused(table=True)
    graph = trace_compared(model, (3, 32, 32))
    (axis, _), _ = (r.target for r in graph.resizes)
    assert axis is not None
    assert graph.classes.pinned(axis) is None
    unite_modes(model, graph)
    assert str(graph.classes.pinned(axis)).endswith("in training mode")


def test_modes_that_resize_alike_change_nothing() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Dropout(), nn.MaxPool2d(2))
    graph = trace_compared(model, (3, 32, 32))
    assert not unite_modes(model, graph)
    assert graph.notes == []
