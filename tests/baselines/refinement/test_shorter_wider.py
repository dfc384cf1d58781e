"""Blocks are removed from the end, and the remaining layers widened to the same number of weights."""

import pytest
import torch
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.baselines import refine
from dynpool.baselines.refinement.shorter_wider import find_blocks
from dynpool.graph.tracer import trace
from tests.baselines.nets import Residual, chain, resnet

WAY = "shorter and wider"


def test_blocks_are_removed_and_the_rest_is_widened_to_as_many_weights() -> None:
    model = resnet((8, 2), (16, 3), (16, 2))
    refined, plan = refine(model, (3, 16, 16), way=WAY)
    # by the shortest paths: 3 behind the stem and every shortcut, so that the last block adds 2 * 4 twice
    assert plan.i_min_before == (19, 19)
    assert [e.what for e in plan.edits] == ["block removed", "widened"]
    assert [c.layer for c in plan.edits[0].changes] == ["3.1"]
    assert isinstance(refined.get_submodule("3.1"), nn.Identity)
    assert plan.i_min_after == receptive_field(refined, (3, 16, 16)).i_min == (15, 15)
    assert 0.99 * plan.parameters_before < plan.parameters_after <= plan.parameters_before
    assert sum(p.numel() for p in refined.parameters()) == plan.parameters_after
    out = refined(torch.randn(2, 3, 16, 16))
    assert out.shape == (2, 5)
    assert torch.isfinite(out).all()
    assert torch.isfinite(plan.apply(model)(torch.randn(2, 3, 16, 16))).all()


def test_a_block_with_more_output_channels_is_removed_if_layers_before_it_can_be_widened() -> None:
    model = resnet((8, 2), (16, 1))
    refined, plan = refine(model, (3, 9, 9), way=WAY)
    assert plan.i_min_before == (9, 9)
    assert plan.edits[0].changes[-1].layer == "2.0"
    assert {(c.layer, c.before, c.after) for c in plan.edits[0].changes if c.attribute == "width"} >= {
        ("0", (3, 8), (3, 16)),
        ("1.1.conv2", (8, 8), (8, 16)),
    }
    assert plan.i_min_after == (7, 7)
    assert refined(torch.randn(1, 3, 9, 9)).shape == (1, 5)


def test_blocks_are_found_with_and_without_shortcuts() -> None:
    model = resnet((8, 2), (16, 1))
    assert [b.path for b in find_blocks(model, trace(model, (3, 32, 32)))] == ["0", "1.0", "1.1", "2.0"]
    plain = chain(1, 2, 1)
    assert [b.path for b in find_blocks(plain, trace(plain, (3, 32, 32)))] == ["0", "1", "2"]


def test_a_plain_network_gets_shorter() -> None:
    refined, plan = refine(chain(1, 2, 2, 1, 1, 1), (3, 24, 24), way=WAY)
    assert plan.i_min_before == (33, 33)
    assert [c.layer for e in plan.edits[:-1] for c in e.changes] == ["5", "4"]
    assert plan.i_min_after == (17, 17)
    assert refined(torch.randn(1, 3, 24, 24)).shape == (1, 2)


def test_a_network_that_cannot_be_widened_has_a_note() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, 2, 1)
            self.blocks = nn.Sequential(Residual(4, 4), Residual(4, 4))
            self.scale = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            for block in self.blocks:
                x = torch.cat([block(x)]) * self.scale
            return x.mean((2, 3))

    refined, plan = refine(Scaled(), (3, 11, 11), way=WAY)
    assert plan.i_min_before == (11, 11)
    assert plan.i_min_after == (3, 3)
    assert [type(block) for block in refined.get_submodule("blocks").children()] == [nn.Identity, nn.Identity]
    assert plan.why == "nothing could be widened: no width can change"
    assert f"note: {plan.why}" in str(plan)


def test_a_block_that_cannot_be_removed_has_a_reason() -> None:
    refined, plan = refine(chain(1), (3, 3, 3), way=WAY)
    assert not plan.reached
    assert plan.why == "no removable block brings r_min below I_res in 0"
    assert plan.stays == {
        "0": "0 has 3 input and 4 output channels, and a width of 3 cannot change: the image's channels"
    }
    assert isinstance(refined.get_submodule("0"), nn.Conv2d)


def test_widths_that_cannot_grow_enough_have_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynpool.baselines.refinement.shorter_wider._WIDEST", 1.02)
    _, plan = refine(resnet((8, 2), (16, 3), (16, 2)), (3, 12, 12), way=WAY)
    assert plan.reached
    part = plan.parameters_after / plan.parameters_before
    assert plan.why == f"only {part:.0%} of the original weights, as the widths that can change grow at most 1.02 times"
    assert part < 0.95
