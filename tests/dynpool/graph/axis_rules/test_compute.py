"""Operations that compute: parameters and unknown operations pin what they meet, recurrent networks do not."""

import torch
from torch import Tensor, nn

from dynpool.graph.survey import Survey
from dynpool.graph.tracer import trace
from tests.dynpool.graph.axis_rules.maps import pooled


class AlongRows(nn.Module):
    """A recurrent network over the pixels of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        n, c, h, w = x.shape
        out, _ = self.lstm(x.permute(0, 2, 3, 1).reshape(n * h, w, c))
        return x + out.view(n, h, w, c).permute(0, 3, 1, 2)


def test_a_recurrent_network_takes_sequences_of_any_length() -> None:
    graph = Survey(AlongRows(), (8, 48, 48)).structure
    assert not graph.not_understood
    assert [graph.classes.pinned(a) for a in pooled(graph)] == [None, None]


def test_position_table_pins_with_the_reason() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.table = nn.Parameter(torch.zeros(1, 4, 8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + self.table

    graph = trace(Positions(), (3, 16, 16))
    axis = graph.resizes[0].target[0]
    assert axis is not None
    assert "parameter" in (graph.classes.pinned(axis) or "")


def test_operation_without_a_rule_is_reported() -> None:
    class Inverts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.inv(x)

    assert trace(Inverts(), (3, 8, 8)).not_understood == {"aten.linalg_inv_ex": 1}
