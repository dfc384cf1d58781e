"""The table of descriptions names operations that there are."""

import pytest
import torch
import torchvision

from dynpool.graph.ops.table import DESCRIPTIONS

assert torchvision.ops  # registers its operations

NO_OPERATORS = {
    "resizer",  # a whole module
    "trunc_normal", "_adaptive_avg_pool1d",  # made of others by every PyTorch that is supported
}  # fmt: skip


@pytest.mark.parametrize("namespace", ["aten", "torchvision", "dynpool"])
def test_every_name_is_an_operation(namespace: str) -> None:
    names = [name.partition(".")[2] for name in DESCRIPTIONS if name.startswith(f"{namespace}.")]
    assert names
    known = getattr(torch.ops, namespace)
    missing = [name for name in names if not hasattr(known, name) and not hasattr(known, f"{name}_")]
    assert set(missing) <= NO_OPERATORS
