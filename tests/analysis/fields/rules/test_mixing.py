"""Operations that mix positions: global ones see everything on one path, and attention keeps its shortcut apart."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.analysis import receptive_field


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(self.last(x).mean((2, 3)))


def test_a_global_path_is_infinite_and_never_the_minimum() -> None:
    report = receptive_field(SqueezeExcite(), (3, 32, 32))
    assert [row.name for row in report.layers] == ["stem", "last"]
    assert report.i_min == (5, 5)
    assert report.layers[0].r_max == (3, 3)
    assert report.i_max == (math.inf, math.inf)


class RowMean(nn.Module):
    """Means over the rows alone, so that the width stays local."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.after = nn.Conv2d(4, 4, (1, 5), padding=(0, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.before(x).mean(2, keepdim=True))


def test_one_axis_may_be_global_alone() -> None:
    report = receptive_field(RowMean(), (3, 32, 32))
    assert report.layers[1].r_min == (math.inf, 7)
    assert report.i_min == (3, 7)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        tokens = x.flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return self.last(x + (weights @ tokens).transpose(1, 2).reshape(x.shape))


def test_attention_is_global_beside_its_shortcut() -> None:
    report = receptive_field(Attention(), (3, 32, 32))
    assert report.layers[0].r_max == (4, 4)
    assert report.layers[1].r_min == (4 + 2 * 4, 4 + 2 * 4)
    assert report.layers[1].r_max == (math.inf, math.inf)


class WeightedAttention(nn.Module):
    """Attention among the pixels of a map and a class token; `weigh` may write to the map of products."""

    def __init__(self, weigh: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.keys = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.weigh = weigh

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        tokens = torch.cat([self.token, x.flatten(2).transpose(1, 2)], 1)
        products = tokens @ self.keys(tokens).transpose(1, 2)
        self.weigh(products)
        return self.last((products.softmax(-1) @ tokens)[:, 1:].transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize(
    "weigh",
    [
        lambda products: None,
        lambda products: products[:, 1:].mul_(2),
        lambda products: products[:, :, 1:].mul_(2),
        lambda products: products[:, 1:, 1:].mul_(2),
        lambda products: products[:, 1:, 1:].copy_(products[:, 1:, 1:] * 2),
    ],
    ids=["nothing", "rows", "columns", "both", "copied"],
)
def test_writes_to_an_attention_map_leave_its_queries_apart(weigh: Callable[[Tensor], object]) -> None:
    row = receptive_field(WeightedAttention(weigh), (3, 32, 32)).layers[-1]
    assert row.r_min == (4 + 2 * 4, 4 + 2 * 4)
    assert row.effective_stride == (4, 4)
    assert row.centre == (1.5, 1.5)
    assert row.r_max == (math.inf, math.inf)


class ChannelsLastBlock(nn.Module):
    """A linear layer over the pixels of a map, a convolution after it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 4, stride=4)
        self.linear = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.linear(self.down(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [(4, 4), (4, 12), (12, 4), (16, 16)])
def test_a_linear_layer_over_a_map_of_one_pixel_is_as_one_over_many(size: tuple[int, int]) -> None:
    assert receptive_field(ChannelsLastBlock(), (3, *size)).layers[-1].r_min == (4 + 2 * 4, 4 + 2 * 4)


def test_a_weight_made_from_the_image_sees_all_of_it() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 3, 3, 3))
            self.last = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.conv2d(x, self.weight * x.mean((2, 3)).reshape(3, 1, 1, 1), padding=1))

    report = receptive_field(Dynamic(), (3, 16, 16))
    assert [row.r_min[0] for row in report.layers] == [3, 5]
    assert report.layers[1].r_max == (math.inf, math.inf)


class ColumnsInTurn(nn.Module):
    """A recurrent layer reads the columns of each row; a convolution follows."""

    def __init__(self, kind: str, *, both_ways: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.reader = getattr(nn, kind)(4, 4, batch_first=True, bidirectional=both_ways)
        self.last = nn.Conv2d(4 * (1 + both_ways), 4, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.first(x).permute(0, 2, 3, 1)
        read: Tensor = self.reader(rows.flatten(0, 1))[0]
        return self.last(read.unflatten(0, rows.shape[:2]).permute(0, 3, 1, 2))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_recurrent_layer_sees_what_came_before_and_on_another_path_the_step_itself(
    kind: str, both_ways: bool
) -> None:
    model = ColumnsInTurn(kind, both_ways=both_ways)
    report = receptive_field(model, (3, 20, 16))
    assert report.i_min == (5, 3)  # rows: 3, then 3 more; columns: those of the step itself
    assert report.i_max[0] == 5
    x = torch.zeros(1, 3, 20, 16, requires_grad=True)
    model(x)[0, :, 10, 6].sum().backward()
    assert x.grad is not None
    columns = x.grad[0].abs().sum((0, 1)).nonzero().flatten().tolist()
    assert columns == list(range(16 if both_ways else 8))  # one more by the first convolution
    assert report.seen("last", (10, 6)) == ((8, 12), (0, 15 if both_ways else 7))
