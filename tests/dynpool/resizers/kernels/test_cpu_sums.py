"""Maps as sums over the rows of a table: what strips give together is the map of :mod:`.reference` as a matrix."""

import pytest
import torch
from torch import Tensor

from dynpool.resizers.kernels import cpu_sums
from dynpool.resizers.kernels.reference import Kind, map_rows

SIZE_IN, SIZE = (7, 5), (3, 6)


def matrix(kind: Kind, axis: int) -> Tensor:
    rows = map_rows(kind, SIZE_IN[axis], SIZE[axis])
    return torch.tensor([[row.get(k, 0.0) for k in range(SIZE_IN[axis])] for row in rows])


def applied(strips: list[cpu_sums.Strip], table: Tensor, which: int = 0) -> Tensor:
    return torch.cat([strip.sums[which](table[strip.reads].transpose(0, 1).flatten(0, 1)) for strip in strips])


@pytest.mark.parametrize("count", [1, 2, 100])
def test_strips_of_values_are_the_queries_of_each_cell(count: int) -> None:
    strips = cpu_sums.values("max", SIZE_IN, SIZE, 1, count)
    assert len(strips) == min(count, SIZE[0])
    assert [strip.rows.start for strip in strips[1:]] == [strip.rows.stop for strip in strips[:-1]]
    pixels = torch.randn(35, 1, 2, generator=torch.Generator().manual_seed(0))
    queries = torch.einsum("jh,lw,hwc->jlc", matrix("query", 0), matrix("query", 1), pixels.view(7, 5, 2))
    cells = queries.view(3, 2, 6, 2, 2).transpose(1, 2).reshape(-1, 2)
    torch.testing.assert_close(applied(strips, pixels), cells)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_strips_of_gradients_are_transposed_maps(count: int) -> None:
    strips = cpu_sums.gradients("max", SIZE_IN, SIZE, 1, count, need_x=True, need_alpha=True)
    grid = torch.randn(6, 12, 2, generator=torch.Generator().manual_seed(0))
    cells = grid.view(3, 2, 6, 2, 2).transpose(1, 2)
    table = cells.reshape(18, 4, 2)
    kinds: list[tuple[Kind, Kind]] = [("query", "query"), ("slope", "query"), ("query", "slope")]
    for which, (rows, columns) in enumerate(kinds):
        expected = torch.einsum("jh,lw,jlc->hwc", matrix(rows, 0), matrix(columns, 1), grid).reshape(-1, 2)
        torch.testing.assert_close(applied(strips, table, which), expected)


def test_several_samples_lie_below_one_another() -> None:
    (one,), (two,) = (cpu_sums.values("mean", SIZE_IN, SIZE, copies, 1) for copies in (1, 2))
    pixels = torch.randn(70, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(two.sums[0](pixels), torch.cat([one.sums[0](half) for half in pixels.split(35)]))
