"""A pass without data: shapes at every place, devices and modes as asked for, and the model as it was afterwards."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynpool.graph.errors import TraceError
from dynpool.graph.forward_pass import ForwardPass, meta_state, run_pass
from dynpool.graph.inputs import make_inputs


class Modes(nn.Module):
    """Pools twice in training mode, and makes a tensor without a device."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.seen: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(self.training)
        x = self.conv(x) + torch.ones(1)
        for _ in range(1 + self.training):
            x = nn.functional.max_pool2d(x, 2)
        return x


def passed(model: nn.Module, size: Any, training: bool = False) -> ForwardPass:
    recorder = ForwardPass()
    run_pass(model, make_inputs(size, None, torch.float32), meta_state(model), recorder, training)
    return recorder


@pytest.mark.parametrize(("training", "pools"), [(False, 1), (True, 2)])
def test_every_operation_has_its_shapes_in_the_mode_asked_for(training: bool, pools: int) -> None:
    model = Modes()
    shapes = passed(model, (3, 32, 48), training).shapes
    ((inputs, outputs),) = (shapes[place] for place in shapes if place[2] == "aten.convolution")
    assert inputs[0] == (1, 3, 32, 48)
    assert outputs == ((1, 4, 16, 24),)
    assert sum("max_pool2d" in place[2] for place in shapes) == pools
    assert model.training
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_the_state_of_a_pass_has_the_shapes_of_the_models_and_no_data() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).half()
    state = meta_state(model)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert {name: (t.shape, t.dtype) for name, t in state.items()} == {n: (t.shape, t.dtype) for n, t in own.items()}
    assert all(t.is_meta for t in state.values())


def test_an_error_in_the_pass_names_where_it_was_and_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 9))
    with pytest.raises(TraceError, match=r"input_size=\(3, 8, 8\) \(tried with a batch of 1 image") as error:
        passed(model, (3, 8, 8))
    assert (error.value.op, error.value.path) == ("aten.convolution", "1")
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 8, 8)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
