"""The benchmark of the operator: what it counts, and that it measures nothing that is wrong."""

import pytest
import torch
from torch import Tensor

import dynpool
from benchmarks.dynopool2d import COPY, EAGER, OURS, PEER, Case, cases, measure, verify

CASE = Case(2, 3, 8, 2.0, torch.float32, torch.channels_last, True)


def test_the_floor_at_alpha_two_is_what_both_passes_must_move() -> None:
    x, y = 2 * 3 * 64, 2 * 3 * 16
    assert CASE.floor_bytes() == 4 * (x + y) + y + 4 * y + y + 4 * x + 4 * x


@pytest.mark.parametrize("wrong", ["y", "dx", "dalpha"])
def test_wrong_results_are_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verify(CASE, "cpu")
    right = dynpool.dynopool2d

    def slightly_wrong(x: Tensor, alpha: Tensor, *, size: tuple[int, int]) -> Tensor:
        y = right(x, alpha, size=size)
        if wrong == "y":
            return y + 1e-4
        return y + 1e-3 * ((x - x.detach()).sum() if wrong == "dx" else (alpha - alpha.detach()).sum())

    monkeypatch.setattr(dynpool, "dynopool2d", slightly_wrong)
    with pytest.raises(SystemExit, match=rf"{wrong} is off by .* No speed is printed while results disagree"):
        verify(CASE, "cpu")


def test_each_way_to_resize_a_map_has_a_row() -> None:
    rows = {row.what: row for row in measure(CASE, "cpu", 2, "none")}
    assert {COPY, PEER, EAGER, OURS, "max_pool2d"} == set(rows)
    assert rows[PEER].of_composition == 1.0
    assert all(0 < row.p20 <= row.p50 <= row.p80 for row in rows.values())


def test_large_maps_on_a_gpu_are_beyond_its_cache_and_have_even_floors() -> None:
    found = list(cases("cuda", quick=False))
    assert all(case.floor_bytes() > 2 * 50 * 2**20 for case in found if not case.small)
    assert {case.pixels for case in found} == {224, 112, 56, 28, 14, 7}
