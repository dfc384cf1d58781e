"""Paths along one axis: the shortest, the longest, and whether all that meet agree."""

import math

import torchvision
from torch import Tensor, nn

from dynpool.analysis import receptive_field
from tests.analysis.fields.models import Block


def test_r_min_is_the_shortest_path_and_r_max_the_longest() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), Block((2, 2)), Block((1, 1)))
    rows = {row.name: row for row in receptive_field(model, (2, 64, 64)).layers}
    # along the height: 3, then the main path adds 2 + 2 (stride 2 in its last layer), the shortcut nothing
    assert rows["1.main.1"].r_min == (7, 9)
    assert rows["1.short"].r_min == (3, 3)
    assert rows["2.short"].r_min_in == (3, 3)
    assert rows["2.main.1"].r_min == (3 + 2 * 4, 3 + 2 * 6)
    assert rows["2.main.1"].r_max == (7 + 2 * 4, 9 + 2 * 6)
    assert rows["2.main.1"].effective_stride == (2, 2)
    assert rows["1.main.0"].kernel == (3, 5)
    assert rows["1.main.1"].shape == (1, 4, 32, 32)


def test_branches_of_different_stride_are_not_aligned() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.b = nn.Conv2d(3, 4, 17)  # the same size at 32 pixels, at another stride

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    report = receptive_field(Mixed(), (3, 32, 32))
    assert not report.aligned
    assert "not aligned" in str(report)
    assert receptive_field(Block((2, 2)), (4, 32, 32)).aligned


class SqueezeExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.conv = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())


def test_a_path_through_a_global_operation_is_left_out_of_the_local_maximum() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), SqueezeExcitation(), nn.Conv2d(4, 4, 5, padding=2))
    report = receptive_field(net, (3, 32, 32))
    rows = {row.name: row for row in report.layers}
    assert rows["0"].r_max_local == rows["0"].r_max == (3.0, 3.0)
    assert rows["1.conv"].r_max_local == (7.0, 7.0)  # 3 + 2 * 2
    assert rows["1.conv"].r_max == (math.inf, math.inf)
    assert [rows[name].has_global_path for name in ("0", "1.conv", "2")] == [False, True, True]
    assert (report.i_max_local, report.i_max) == ((15.0, 15.0), (math.inf, math.inf))
    text = str(report)
    assert "I_max 15*, I_res 32" in text
    assert "* another path runs through a global operation" in text
    assert " inf" not in text
    assert report.to_dict()["i_max_local"] == [15.0, 15.0]
    assert report.to_dict()["layers"][1]["r_max_local"] == [7.0, 7.0]


def test_without_a_global_path_the_two_maxima_are_one() -> None:
    report = receptive_field(torchvision.models.resnet18(), (3, 64, 64))
    assert report.i_max_local == report.i_max == (435.0, 435.0)
    assert "*" not in str(report)
