"""The steps of a traced model: layers have names of their own, and a convolution over the whole map is none."""

from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.analysis import receptive_field


def test_a_convolution_over_the_whole_map_is_a_linear_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 8, 8), nn.Conv2d(8, 8, 1))
    assert [row.name for row in receptive_field(model, (3, 16, 16)).layers] == ["0"]
    assert [row.name for row in receptive_field(model, (3, 18, 18)).layers] == ["0", "1", "2"]


def test_repeated_and_functional_layers_have_names_of_their_own() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(F.max_pool2d(self.conv(x), 2))

    assert [row.name for row in receptive_field(Shared(), (3, 16, 16)).layers] == ["conv", "max_pool2d", "conv#2"]


def test_a_pool_of_one_axis_is_told_as_one() -> None:
    model = nn.Sequential(nn.Conv1d(1, 4, 9, stride=4), nn.MaxPool1d(4), nn.AvgPool1d(2))
    assert [row.kind for row in receptive_field(model, (1, 1600)).layers] == ["convolution", "max_pool1d", "avg_pool1d"]
