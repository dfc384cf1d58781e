"""A walk over the graph: operations without a rule are named."""

import torch
from torch import Tensor, nn

from dynpool.analysis import receptive_field


def test_operations_without_a_rule_are_named_and_end_what_can_be_said() -> None:
    class Inverted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.last = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.linalg.inv(self.first(x)))

    report = receptive_field(Inverted(), (3, 16, 16))
    assert report.not_understood == {"aten.linalg_inv_ex": 1}
    assert "operations without a rule: aten.linalg_inv_ex x1" in str(report)
    assert [row.name for row in report.layers] == ["first"]
    assert report.i_min == (3, 3)
