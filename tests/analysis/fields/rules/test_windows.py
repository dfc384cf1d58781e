"""Windows: how many pixels a resize sees, and the stride that it leaves."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.size_math import effective_kernel


def test_a_resizer_on_a_transposed_map_keeps_its_axes_apart() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = dynpool.DynOPool2d((3.0, 1.5))  # of the map's rows, which run along the image's width

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x.transpose(2, 3))

    row = receptive_field(Transposed(), (3, 30, 60)).layers[0]
    assert row.shape == (1, 3, 20, 20)
    assert row.stride == (30 / 20, 60 / 20)
    assert row.kernel == (effective_kernel(30, 20), effective_kernel(60, 20))


def test_interpolation_sees_its_neighbours_and_shrinks_the_stride() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 4, 3)
    )
    rows = receptive_field(model, (3, 65, 65)).layers
    assert [row.r_min[0] for row in rows] == [3, 5, 7]
    assert rows[1].effective_stride == (1, 1)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [0.4, 1.1, 2.3, 3])
def test_an_interpolation_steps_by_its_scale_factor_not_by_its_sizes(mode: str, factor: float) -> None:
    """Axes whose size the factor does not change (9 by 1.1) are copied, but not by "nearest-exact" and "bicubic"."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = (nn.Conv2d(1, 1, 3, padding=1, dtype=torch.double) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.last(F.interpolate(self.first(x), scale_factor=factor, mode=mode))
            return y

    model, x = Scaled(), torch.rand(1, 1, 17, 9, dtype=torch.double, requires_grad=True)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    report, y, widest = receptive_field(model, (1, 17, 9)), model(x), 0
    height, width = y.shape[2:]
    for i, j in [(i, width // 2) for i in range(height)] + [(height // 2, j) for j in range(width)]:
        (gradient,) = torch.autograd.grad(y[0, 0, i, j], x, retain_graph=True)
        rows, columns = ((int(at.min()), int(at.max())) for at in gradient[0, 0].nonzero().T)
        assert report.seen("last", (i, j)) == (rows, columns)
        widest = max(widest, rows[1] - rows[0] + 1)
    assert widest - 1 <= report.layers[-1].r_max[0] < widest + 1


class Unpooled(nn.Module):
    """The decoder of SegNet in small: a map goes back to where the pool took it from."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.first, self.between = (nn.Conv2d(1, 1, 3, padding=1, dtype=torch.double) for _ in range(2))
        self.pool = nn.MaxPool2d(kernel, stride, padding, return_indices=True)
        self.unpool = nn.MaxUnpool2d(kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        pooled, indices = self.pool(x)
        y: Tensor = self.unpool(self.between(pooled), indices, x.shape[-2:])
        return y


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 3, 0)])
def test_unpooling_sees_the_windows_that_hold_its_position(window: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model, seen = Unpooled(*window), {(i, j): torch.zeros(12, 10) for i in (0, 5, 11) for j in (0, 4, 8)}
    for _ in range(300):  # pixels of the input decide which position of a window gets its value
        x = torch.randn(1, 1, 12, 10, dtype=torch.double, requires_grad=True)
        y = model(x)
        for (i, j), found in seen.items():
            (gradient,) = torch.autograd.grad(y[0, 0, i, j], x, retain_graph=True)
            found += gradient[0, 0] != 0
    report = receptive_field(model, (1, 12, 10))
    assert not report.not_understood
    for position, found in seen.items():
        assert report.seen("unpool", position) == tuple((int(at.min()), int(at.max())) for at in found.nonzero().T)


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize(("size", "alpha"), [(64, 2.0), (30, 2.3), (33, 1.4), (21, 0.7), (40, 3.7)])
def test_a_resizer_has_its_footprint_for_a_kernel_and_a_real_stride(
    size: int, alpha: float, reduce: Literal["max", "mean"]
) -> None:
    pool = dynpool.DynOPool2d(alpha, reduce=reduce)
    report = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), pool, nn.Conv2d(1, 1, 3)), (1, size, size))
    out = dynpool.dynopool2d(torch.zeros(1, 1, size, size), alpha).shape[-1]
    row = report.layers[1]
    assert (row.kind, row.kernel[0]) == ("dynopool2d", effective_kernel(size, out))
    assert row.stride == (size / out, size / out)
    assert row.r_min[1] == 3 + row.kernel[1] - 1
    assert report.i_min[0] == pytest.approx(row.r_min[0] + 2 * size / out)


def test_a_sample_sees_one_pixel_where_positions_are_whole_and_else_two() -> None:
    for size, kernel in ((32, 1), (31, 2)):
        report = receptive_field(dynpool.DynOPool2d(2.0, reduce="sample"), (1, size, size))
        assert report.layers[0].kernel == (kernel, kernel)
