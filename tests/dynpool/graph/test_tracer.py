"""Tracing: what is seen, at which sizes, and that the model is left as it was."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.graph import TraceError
from dynpool.graph.tracer import trace
from tests.dynpool.graph.axis_rules.maps import Branches


def test_sees_every_operation_with_its_module_path_and_shapes() -> None:
    graph = trace(Branches(), (3, 32, 48))
    convolutions = [(n.path, graph.values[n.outputs[0]].shape[-2:]) for n in graph.nodes if n.op == "aten.convolution"]
    assert convolutions == [
        ("stem", (16, 24)),
        ("shared", (16, 24)),
        ("shared", (16, 24)),
        ("squeeze", (1, 1)),
        ("valid", (6, 10)),
    ]
    assert [(r.path, r.in_size, r.out_size) for r in graph.resizes] == [
        ("stem", (32, 48), (16, 24)),
        ("", (16, 24), (8, 12)),
    ]
    assert graph.calls["shared"] == 2
    assert not graph.not_understood


def test_leaves_the_model_untouched() -> None:
    model = Branches().train()
    model.valid.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    trace(model, (3, 32, 32))
    assert model.training
    assert not model.valid.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.device.type == "cpu" for p in model.parameters())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks


@pytest.mark.parametrize("bad", [(32, 32), (3, 0, 32), (3, 32.0, 32), "abc", (3, 32, True)])
def test_bad_input_size_is_named(bad: object) -> None:
    with pytest.raises(ValueError, match="input_size"):
        trace(Branches(), bad)  # type: ignore[arg-type]


def test_too_small_an_input_says_where_it_failed() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2))
    with pytest.raises(ValueError, match=r"cannot run at input_size=\(3, 4, 4\).* in 2"):
        trace(model, (3, 4, 4))


ONE_SIZE = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16 * 16, 10))


@pytest.mark.parametrize("look", [trace, dynpool.count_macs, dynpool.convert, dynpool.sizes, receptive_field])
def test_a_size_that_a_flattened_map_does_not_fit_is_an_error(look: Callable[..., object]) -> None:
    with pytest.raises(TraceError, match=r"cannot run at input_size=\(3, 40, 40\).* in 3: .*3200"):
        look(ONE_SIZE, (3, 40, 40))
    assert dynpool.count_macs(ONE_SIZE, (3, 32, 32)).total == 27 * 8 * 32 * 32 + 2048 * 10
