"""Receptive fields of real networks against gradients; `python -m benchmarks.field_exactness` runs all sixty."""

import pytest
import torch

from tests.analysis.fields.networks import FAST, NETWORKS, build, compare


@pytest.mark.parametrize("name", FAST)
def test_fields_are_what_gradients_see(name: str) -> None:
    torch.manual_seed(0)
    found = compare(build(name), (3, NETWORKS[name], NETWORKS[name]))
    assert not found.mismatches
    assert found.positions >= 2 * found.layers > 0
    assert found.shortest > 0
