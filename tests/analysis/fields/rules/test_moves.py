"""Positions moved: a transposed map keeps its axes apart."""

from torch import Tensor, nn

from dynpool.analysis import receptive_field


def test_a_transposed_map_keeps_its_axes_apart() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, (5, 1), stride=(2, 1), padding=(2, 0))
            self.b = nn.Conv2d(4, 4, (3, 1), padding=(1, 0))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).transpose(2, 3))

    report = receptive_field(Transposed(), (3, 32, 48))
    assert report.layers[1].r_min == (5, 3)
    assert report.layers[1].kernel == (1, 3)
    assert report.layers[1].effective_stride == (2, 1)
