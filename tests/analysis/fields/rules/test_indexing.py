"""Positions read by index, against what gradients see: known ones exactly, unknown ones as all of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.analysis import receptive_field
from tests.analysis.fields.oracle import image, layer_outputs, positive, region

SIZE = (2, 8, 10)


class Read(nn.Module):
    """`last` looks at what is read from a map of 3x3 fields."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.read(self.first(x)))


ROWS = torch.tensor([6, 0, 3])
KNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda x: x[:, :, ROWS],
    "rows counted from the end": lambda x: x[:, :, ROWS - 8],
    "selected columns": lambda x: x.index_select(3, ROWS),
    "channels": lambda x: x[:, torch.tensor([1, 0])],
}


@pytest.mark.parametrize("read", KNOWN.values(), ids=KNOWN)
def test_known_positions_are_what_is_seen(read: Callable[[Tensor], Tensor]) -> None:
    model = Read(read)
    report = receptive_field(model, SIZE)
    assert report.not_understood == {}
    x = image(SIZE)
    out = layer_outputs(positive(model), x, ["last"])["last"]
    for at in ((0, 0), (1, 2), (2, 1)):
        assert report.seen("last", at) == region(out, x, at), at


def test_rows_kept_by_a_mask_made_in_the_pass_may_be_any() -> None:
    """The trace does not know how many they are, only that there are no more than rows."""
    report = receptive_field(Read(lambda x: x[:, :, torch.arange(8) % 3 == 0]), SIZE)
    assert report.seen("last", (0, 0)) == ((0, 7), (0, 1))


def test_along_one_dimension_unknown_positions_may_be_any() -> None:
    """A table as large as the result: it may hold another row for every pixel."""
    report = receptive_field(Read(lambda x: x.gather(2, torch.zeros(1, 2, 4, 10, dtype=torch.int64))), SIZE)
    assert report.seen("last", (0, 0)) == ((0, 7), (0, 1))
    assert report.layers[-1].r_max == (float("inf"), 3)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False),
        lambda x: x[:, :, (x.mean((0, 1, 3)) * 0).long()],
    ],
    ids=["grid sample", "an index made from the image"],
)
def test_where_any_pixel_may_be_read_all_are_and_what_follows_is_no_layer(read: Callable[[Tensor], Tensor]) -> None:
    assert [row.name for row in receptive_field(Read(read), SIZE).layers] == ["first"]
