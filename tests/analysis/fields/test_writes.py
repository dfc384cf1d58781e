"""Writes in place, to tensors and to views of them, against what gradients see."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dynpool.analysis import receptive_field
from tests.analysis.fields.models import SIZE, Written
from tests.analysis.fields.oracle import image, layer_outputs, positive, region

POSITIONS = [(0, 0), (4, 4), (8, 10), (12, 3), (15, 19)]


def whole(a: Tensor, b: Tensor) -> Tensor:
    out = torch.zeros(a.shape, dtype=a.dtype)  # no meta tensor, while tracing
    out[:] = b
    return out


def copied(a: Tensor, b: Tensor) -> Tensor:
    out = torch.empty_like(a)
    out.copy_(b)
    return out


def channels(a: Tensor, b: Tensor) -> Tensor:
    a[:, :2] += b[:, :2]
    return a


def through_slice(a: Tensor, b: Tensor) -> Tensor:
    a[:, :2].add_(b[:, 2:])
    return a


def through_transpose(a: Tensor, b: Tensor) -> Tensor:
    a.transpose(2, 3).add_(b.transpose(2, 3))
    return a


def through_select(a: Tensor, b: Tensor) -> Tensor:
    a[0].add_(b[0])
    return a


def through_unsqueeze(a: Tensor, b: Tensor) -> Tensor:
    a.unsqueeze(0).add_(b)
    return a


def through_two_views(a: Tensor, b: Tensor) -> Tensor:
    part = a[:, :2]
    part = part[:, :, 3:6]
    part += b[:, :2, 3:6]
    return a


def seen_in_an_older_view(a: Tensor, b: Tensor) -> Tensor:
    view = a[:, :2]
    a += b
    return torch.cat([view, view], 1)


def rows(a: Tensor, b: Tensor) -> Tensor:
    a[:, :, 2:8] = b[:, :, 2:8]
    return a


def every_other_row(a: Tensor, b: Tensor) -> Tensor:
    a[:, :, ::2] = b[:, :, ::2]
    return a


def rows_by_index(a: Tensor, b: Tensor) -> Tensor:
    a[:, :, torch.arange(3, 9)] = b[:, :, 3:9]
    return a


def in_pieces(a: Tensor, b: Tensor) -> Tensor:
    out = torch.zeros(a.shape, dtype=a.dtype)
    out[:, :, :8] = a[:, :, :8]
    out[:, :, 8:] = b[:, :, 8:]
    return out


def inside(a: Tensor, b: Tensor) -> Tensor:
    out = a.new_zeros(a.shape)
    out[:, :, 1:-1, 1:-1] = b[:, :, 1:-1, 1:-1]
    return out


def erased(a: Tensor, b: Tensor) -> Tensor:
    a[:, :, :8] = 0
    a[:, :, 12:14].zero_()
    return a


def column(a: Tensor, b: Tensor) -> Tensor:
    a[:, 0] = b[:, 1]
    return a


WRITES = {
    f.__name__: f
    for f in (whole, copied, channels, through_slice, through_transpose, through_select, through_unsqueeze, rows)
} | {
    f.__name__: f
    for f in (
        through_two_views,
        seen_in_an_older_view,
        every_other_row,
        rows_by_index,
        in_pieces,
        inside,
        erased,
        column,
    )
}
WRITES |= {
    "index_copy": lambda a, b: a.index_copy(1, torch.tensor([1]), b[:, :1]),
    "index_add": lambda a, b: a.index_add(2, torch.arange(5), b[:, :, 2:7]),
    "index_fill": lambda a, b: (a + b).index_fill(2, torch.arange(5), 0.0),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_is_seen(name: str) -> None:
    model = Written(WRITES[name])
    report = receptive_field(model, SIZE)
    assert report.not_understood == {}
    x = image(SIZE)
    out = layer_outputs(positive(model), x, ["last"])["last"]
    for at in POSITIONS:
        assert report.seen("last", at) == region(out, x, at), at


def test_both_maps_are_paths() -> None:
    assert receptive_field(Written(channels), SIZE).layers[-1].r_min == (3, 3)
    assert receptive_field(Written(channels), SIZE).layers[-1].r_max == (7, 7)
    assert receptive_field(Written(whole), SIZE).layers[-1].r_min == (7, 7)
    assert receptive_field(Written(rows), SIZE).layers[-1].r_max == (7, 7)


def test_an_index_that_changes_is_known_as_it_was() -> None:
    def moving(a: Tensor, b: Tensor) -> Tensor:
        index = torch.arange(3, 9)
        found = a[:, :, index]
        index += 4
        return F.pad(found, (0, 0, 3, 7))

    report = receptive_field(Written(moving), SIZE)
    assert report.seen("last", (3, 5)) == ((2, 4), (4, 6))
