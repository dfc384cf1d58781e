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


class Turned(nn.Module):
    """Adds its map to itself with height and width exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return self.last(x + x.transpose(2, 3))


def test_a_map_that_must_be_square_is_pinned() -> None:
    graph = Survey(Turned(), (3, 32, 32)).structure
    assert list(pinned_by_graph(graph, {}).values()) == ["its height and width must agree"]


class SharedHeight(nn.Module):
    """Two pools whose maps are put beside each other: their heights agree, their widths need not."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.MaxPool2d(2), nn.AvgPool2d((2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), self.right(x)], 3)


def test_resolutions_that_share_one_axis_are_pinned() -> None:
    graph = Survey(SharedHeight(), (3, 32, 32)).structure
    pinned = pinned_by_graph(graph, {})
    assert len(list(groups(graph))) == len(pinned) == 2
    assert set(pinned.values()) == {"it shares its height or width with another resolution"}
