"""The table of descriptions names operations that there are."""

import pytest
import torch
import torchvision

from dynpool.graph.ops.table import DESCRIPTIONS

assert torchvision.ops  # registers its operations

NO_OPERATORS = {"resizer", "_adaptive_avg_pool1d"}  # a whole module; described along with those of 2-D and 3-D


@pytest.mark.parametrize("namespace", ["aten", "torchvision", "dynpool"])
def test_every_name_is_an_operation(namespace: str) -> None:
    names = [name.partition(".")[2] for name in DESCRIPTIONS if name.startswith(f"{namespace}.")]
    assert names
    known = getattr(torch.ops, namespace)
    missing = [name for name in names if not hasattr(known, name) and not hasattr(known, f"{name}_")]
    assert set(missing) <= NO_OPERATORS
