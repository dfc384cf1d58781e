"""What cannot be known without data is taken as large as it can be, so that everything behind is executed."""

import torch
from torch import Tensor, nn

from dynpool.analysis import receptive_field


class Pasted(nn.Module):
    """A map pasted into an image within limits that follow from the map itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        box = x.flatten()[:2].long()
        out = torch.zeros(x.shape)
        out[:, :, : max(box[0], 16)] = x[:, :, (5 - box[1]) : (16 - box[1])]  # type: ignore[misc]
        return self.last(out)


def test_a_slice_with_unknown_limits_may_be_any_part() -> None:
    report = receptive_field(Pasted(), (3, 16, 16))
    assert report.not_understood == {}
    assert [row.name for row in report.layers] == ["first"]  # what sees anything from anywhere is no layer
