"""Tracing: what is seen, at which sizes, and that the model is left as it was."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.graph.tracer import trace


class Branches(nn.Module):
    """A functional call, a loop, a shared module, a flattening to tokens and back, and a squeeze-and-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.tokens = nn.Linear(4, 4)
        self.squeeze = nn.Conv2d(4, 4, 1)
        self.valid = nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            x = self.shared(x)
        y = self.tokens(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
        y = y * self.squeeze(y.mean((2, 3), keepdim=True)).sigmoid()
        y = F.max_pool2d(x + y, 2)
        return self.valid(y)


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


def test_axes_survive_tokens_and_are_not_pinned() -> None:
    graph = trace(Branches(), (3, 32, 48))
    pool = graph.resizes[1]
    find = graph.classes.find
    assert [find(a) for a in pool.source if a is not None] == [
        find(a) for a in graph.resizes[0].target if a is not None
    ]
    assert all(graph.classes.pinned(a) is None for a in pool.source if a is not None)


def test_a_valid_convolution_shifts_the_offset_not_the_class() -> None:
    graph = trace(Branches(), (3, 32, 48))
    (value,) = graph.nodes[-1].outputs
    target = graph.resizes[1].target
    assert [graph.classes.find(d.axis) for d in graph.dims(value)[-2:] if d.axis is not None] == [
        graph.classes.find(a) for a in target if a is not None
    ]
    assert graph.values[value].shape[-2:] == (6, 10)


def test_position_table_pins_with_the_reason() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.table = nn.Parameter(torch.zeros(1, 4, 8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + self.table

    graph = trace(Positions(), (3, 16, 16))
    axis = graph.resizes[0].target[0]
    assert axis is not None
    assert "parameter" in (graph.classes.pinned(axis) or "")


def test_operation_without_a_rule_is_reported() -> None:
    class Inverts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.inv(x)

    assert trace(Inverts(), (3, 8, 8)).not_understood == {"aten.linalg_inv_ex": 1}


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
