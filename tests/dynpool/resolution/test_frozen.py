"""The sizes of a frozen model: those of the tree at every input size, strides put back where they compute the same."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import dynpool
from tests.dynpool.conversion.learned import SIZE, close, converted, learn


class Namespaces(TorchDispatchMode):
    """Notes to which libraries the operations belong that run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.namespace)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("resnet18", {}),
        ("resnet18", {"preserve": True}),
        ("tf_mobilenetv3_small_minimal_100", {"preserve": True}),
        ("regnetx_002", {"preserve": True, "order": "before"}),
    ],
)
@torch.no_grad()
def test_frozen_models_follow_the_tree_at_other_input_sizes(name: str, how: dict[str, Any]) -> None:
    model = learn(converted(name, **how))
    frozen = dynpool.freeze(model)
    assert not any(isinstance(m, dynpool.LearnedResizer2d) for m in frozen.modules())
    for hw in ((64, 64), (75, 90), (64, 64), (128, 96)):
        x = torch.randn(1, 3, *hw)
        close(frozen(x), model(x))
        assert dynpool.sizes(frozen, (3, *hw)) == dynpool.sizes(model, (3, *hw))
    with Namespaces() as ran:
        frozen(x)
    assert ran.seen == {"aten"}


def test_strides_that_compute_the_same_are_put_back() -> None:
    model = converted("resnet18", preserve=True)
    original = timm.create_model("resnet18", num_classes=7)
    untouched = dynpool.freeze(model)
    report = dynpool.freeze_report(untouched)
    assert sum(len(row.strided) for row in report.rows) == 8
    assert not any(row.resized for row in report.rows)
    assert dynpool.count_macs(untouched, SIZE).total == dynpool.count_macs(original, SIZE).total
    dynpool.set_sizes(model, {"layer3.0.conv1": (5, 4)})
    moved = dynpool.freeze_report(dynpool.freeze(model))
    assert {row.name: len(row.resized) for row in moved.rows if row.resized} == {
        "layer3.0.conv1": 2,
        "layer4.0.conv1": 2,
    }


def test_a_stride_is_put_back_only_at_sizes_where_it_computes_the_same() -> None:
    model = dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1)), (3, 16, 16), preserve=True)
    frozen = dynpool.freeze(model)
    for hw, stride in [((16, 16), (2, 2)), ((17, 16), (1, 1)), ((16, 16), (2, 2)), ((32, 24), (2, 2))]:
        x = torch.randn(1, 3, *hw)
        torch.testing.assert_close(frozen(x), model(x))
        assert frozen.get_submodule("0").stride == stride
