"""Writes through views: each view leads back to its base, or is named."""

import torch
from torch import Tensor

from dynpool.analysis import receptive_field
from tests.analysis.fields.models import SIZE, Written


def test_where_a_write_may_go_anywhere_it_may_be_seen_anywhere() -> None:
    def scattered(a: Tensor, b: Tensor) -> Tensor:
        return a.scatter(2, torch.zeros(1, 4, 1, 20, dtype=torch.long), b[:, :, :1])

    row = receptive_field(Written(scattered), SIZE).layers[-1]
    assert row.r_min == (3, 3)
    assert row.r_max == (float("inf"), float("inf"))


def test_a_view_that_no_rule_leads_back_from_is_named() -> None:
    def through_diagonal(a: Tensor, b: Tensor) -> Tensor:
        a.diagonal(dim1=2, dim2=3).add_(b.diagonal(dim1=2, dim2=3))
        return a

    report = receptive_field(Written(through_diagonal), SIZE)
    assert report.not_understood == {"aten.diagonal": 1}
