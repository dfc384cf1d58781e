"""Resizers by the resolution that they lead to."""

from torch import Tensor, nn

from dynpool.conversion.size_groups import groups, source_key, target_key
from dynpool.graph.tracer import trace


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.MaxPool2d(2)
        self.left, self.right = nn.Conv2d(3, 3, 3, stride=2, padding=1), nn.MaxPool2d(2)
        self.head = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out: Tensor = self.head(self.left(x) + self.right(x))
        return out


def test_resizers_whose_outputs_meet_are_one_group_named_after_the_first() -> None:
    graph = trace(Branches(), (3, 32, 32))
    found = list(groups(graph))
    assert [[r.path for r in group.members] for group in found] == [["stem"], ["left", "right"]]
    assert [group.name for group in found] == ["stem", "left"]


def test_a_group_starts_where_another_leads_to() -> None:
    graph = trace(Branches(), (3, 32, 32))
    stem, branches = groups(graph)
    assert {source_key(graph, r) for r in branches.members} == {stem.key}
    assert {target_key(graph, r) for r in branches.members} == {branches.key}
