"""A graph finds out about axes when it is asked, and only then."""

import pytest
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.graph import ir
from dynpool.graph.record import Record


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1)
    )


def test_receptive_fields_and_macs_run_no_axis_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(record: Record) -> None:
        raise RuntimeError("asked for axes")

    monkeypatch.setattr(ir, "find_axes", refuse)
    assert receptive_field(network(), (3, 16, 16)).i_min == (8, 8)  # 3, 4, 4 + 2 * 2
    assert dynpool.count_macs(network(), (3, 16, 16)).total == 16 * 16 * 4 * 27 + 6 * 6 * 4 * 36 + 4 * 2
    with pytest.raises(RuntimeError, match="asked for axes"):
        dynpool.trace(network(), (3, 16, 16)).resizes  # noqa: B018
