"""A resizer on which nothing depends that the model returns or keeps is said, and left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.conversion.unused_resizers import unused_nodes
from dynpool.graph.tracer import trace

SIZE = (3, 32, 32)


class Branches(nn.Module):
    """A pool whose result goes where `use` says: nowhere, into an attribute, a list, in place into what is returned."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.use = use
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.side = nn.MaxPool2d(2)
        self.kept: Tensor | None = None
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        side = F.relu_(self.side(x) + 1)
        out = x.mean((-2, -1))
        if self.use == "attribute":
            self.kept = side
        elif self.use == "list":
            self.seen.append(side)
        elif self.use == "written":
            out[:, :2].add_(side.mean((-2, -1))[:, :2])
        elif (self.use == "training" and self.training) or self.use == "returned":
            return torch.cat([out, side.mean((-2, -1))], 1)
        return out


@pytest.mark.parametrize("use", ["nowhere", "attribute", "list", "written", "training", "returned"])
def test_alphas_that_would_get_no_gradient_are_not_made(use: str) -> None:
    model = Branches(use)
    learned: Any = dynpool.convert(model, SIZE)
    rows = {row.name: row for row in dynpool.conversion_report(learned).rows}
    assert rows["conv"].status == "converted"
    assert rows["side"].status == ("left alone" if use == "nowhere" else "converted")
    assert ("the model's output does not depend on it" in rows["side"].why) == (use == "nowhere")
    out = learned.train()(torch.randn(2, *SIZE))
    held = learned.kept if use == "attribute" else learned.seen[-1] if use == "list" else out
    assert isinstance(held, Tensor)
    (held.sum() + out.sum()).backward()
    assert all(parameter.grad is not None for parameter in learned.parameters())


def test_what_a_hook_keeps_is_used() -> None:
    model, seen = Branches("nowhere"), list[Tensor]()
    model.side.register_forward_hook(lambda module, args, out: seen.append(out))
    assert {r.name: r.status for r in dynpool.conversion_report(dynpool.convert(model, SIZE)).rows}[
        "side"
    ] == "converted"


def test_a_branch_in_vain_that_resizes_like_a_used_one_shares_its_size() -> None:
    class Shared(Branches):
        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            pooled = F.max_pool2d(x, 2)
            self.side(x).mul(pooled)
            return pooled.mean((-2, -1))

    learned = dynpool.convert(Shared("nowhere"), SIZE)
    assert list(dynpool.sizes(learned, SIZE).values()) == [(32, 32), (16, 16), (8, 8)]
    statuses = sorted(row.status for row in dynpool.conversion_report(learned).rows)
    assert statuses == ["converted", "converted", "tied"]
    learned(torch.randn(1, *SIZE)).sum().backward()
    assert all(parameter.grad is not None for parameter in learned.parameters())


def test_operations_in_vain_are_those_that_can_be_left_out() -> None:
    graph = trace(Branches("nowhere"), SIZE)
    unused = {graph.nodes[i].op for i in unused_nodes(graph)}
    assert unused == {"aten.max_pool2d_with_indices", "aten.add", "aten.relu_"}
    assert not unused_nodes(trace(Branches("written"), SIZE))
