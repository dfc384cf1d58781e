"""The operator without Triton: the fast bodies where they fit, the reference everywhere else."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dynpool.resizers.kernels import cpu, eager, reference
from dynpool.resizers.kernels.native import launch as native


def test_maps_elsewhere_go_to_the_reference() -> None:
    elsewhere = torch.empty(2, 3, 8, 8, device="meta")
    assert not cpu.handles(elsewhere, (8, 8), (4, 4))
    assert eager.forward(elsewhere, (4, 4), "mean", False)[0].device.type == "meta"


def test_winners_are_kept_only_for_the_maximum_and_only_if_asked_for() -> None:
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    for reduce, keep in (("max", False), ("mean", True)):
        assert eager.forward(x, (3, 3), reduce, keep)[1].numel() == 0
    assert eager.forward(x, (3, 3), "max", True)[1].shape == (1, 2, 3, 3)


def test_the_gradient_to_alpha_falls_with_its_square_and_that_to_x_does_not_depend_on_it() -> None:
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, winner = eager.forward(x, (5, 4), "max", True)
    alphas = [torch.tensor(alpha, dtype=torch.float64) for alpha in ((1.5, 2.0), (3.0, 6.0))]
    (dx, one), (same, other) = [eager.backward(y, x, alpha, winner, (8, 9), "max", True, False) for alpha in alphas]
    assert dx is not None
    assert same is not None
    assert one is not None
    assert other is not None
    torch.testing.assert_close(one / other, torch.tensor([4.0, 9.0], dtype=torch.float64))
    _, distances = reference.backward(y, x, winner, (8, 9), "max", False)
    assert distances is not None  # of queries, which lie half a cell of (8 / 5, 9 / 4) pixels apart at alpha = 1
    torch.testing.assert_close(one, distances * torch.tensor([1.6, 2.25]).double() ** 2 / (4 * alphas[0] ** 2))
    assert torch.equal(dx, same)
    assert eager.backward(y, None, None, winner, (8, 9), "max", True, False)[1] is None


@pytest.mark.parametrize(
    ("pixels", "cells"), [((4, 4), (700, 700)), ((1000, 1000), (400, 400)), ((364, 364), (182, 182))]
)
def test_both_passes_ask_for_the_same_sizes(
    pixels: tuple[int, int], cells: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def handles(x: Tensor, *sizes: Sequence[int]) -> bool:
        asked.append([tuple(size) for size in sizes])
        return False

    monkeypatch.setattr(cpu, "handles", handles)
    monkeypatch.setattr(native, "handles", handles)
    x = torch.zeros(1, 1, *pixels)
    y, winner = eager.forward(x, cells, "mean", False)
    eager.backward(y, None, None, winner, pixels, "mean", True, False)
    assert asked == [[pixels, cells]] * 4
