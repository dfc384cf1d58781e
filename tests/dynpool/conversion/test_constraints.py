"""What the graph alone says of resolutions that cannot move."""

import torch
from torch import Tensor, nn

from dynpool.conversion.constraints import pinned_by_graph, with_ratios_kept
from dynpool.conversion.registry import Plan
from dynpool.conversion.size_groups import groups
from dynpool.graph.survey import Survey


class Positions(nn.Module):
    """Adds a parameter of the size of its map behind the second pool."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.table = nn.Parameter(torch.zeros(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x)) + self.table
        return out


def test_a_parameter_of_the_maps_size_pins_its_resolution_alone() -> None:
    graph = Survey(Positions(), (3, 32, 32)).structure
    first, second = groups(graph)
    pinned = pinned_by_graph(graph, {})
    assert list(pinned) == [second.key]
    assert "parameter" in pinned[second.key]
    assert pinned_by_graph(graph, {first.key: "told so"})[first.key] == "told so"


def test_where_nothing_keeps_a_ratio_plans_stay_as_they_are() -> None:
    graph = Survey(Positions(), (3, 32, 32)).structure
    plans = {r.node: Plan("instead", "max") for r in graph.resizes}
    assert with_ratios_kept(graph, plans, {}) == plans
