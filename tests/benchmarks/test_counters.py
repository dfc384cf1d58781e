"""The count by hand is right where sums can be written down, and `count_macs` agrees with it."""

import pytest
import torch

from benchmarks.counters import MODELS, hand_count
from dynpool import count_macs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "functional",
            64 * 64 * 32 * 27  # first
            + 32 * 32 * 64 * 16 * 9  # second, in two groups
            + 32 * 32 * 64 * 32 * 4  # up: each input meets 2x2 weights for each of 32 channels
            + 64 * 64 * 32 * 48  # einsum
            + 2 * 256 * 256 * 48  # both products of 256 tokens
            + 48 * 10,
        ),
        (
            "reader",
            16 * 128 * 64 * 9
            + 128 * 2 * 4 * 128 * (1024 + 128)  # 128 steps, two directions, four gates
            + 128 * 2 * 4 * 128 * (256 + 128)
            + 128 * 256 * 80,
        ),
    ],
)
def test_the_count_by_hand(name: str, expected: int) -> None:
    build, size = MODELS[name]
    model = build().eval()
    assert hand_count(model, torch.zeros(1, *size)) == expected == count_macs(model, size).total
