"""The record of a pass: where each operation ran, what made a value and what was written to."""

import torch
from torch import Tensor, nn

from dynpool.graph.tracer import trace


class Twice(nn.Module):
    """A module that is called twice, and in each call runs an operation twice; then a write in place."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Sequential(nn.ReLU(), nn.ReLU())
        self.own = Doubled()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.own(x)
        y = x.clone()
        y[:, :, 0] = 1.0
        return y


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().relu()


def test_an_operation_is_known_by_its_module_call_and_occurrence() -> None:
    record = trace(Twice(), (3, 8, 8))
    places = [node.place for node in record.nodes if node.op == "aten.relu"]
    assert places == [("own", call, "aten.relu", occurrence) for call in (0, 1) for occurrence in (0, 1)]
    assert len({node.place for node in record.nodes}) == len(record.nodes)


def test_every_value_but_the_input_has_the_operation_that_made_it() -> None:
    record = trace(Twice(), (3, 8, 8))
    made = {v for node in record.nodes for v in node.outputs}
    assert made == set(record.makers)
    assert record.input_id not in record.makers
    for value, node in record.makers.items():
        assert value in node.outputs


def test_a_tensor_written_in_place_gets_a_new_value() -> None:
    record = trace(Twice(), (3, 8, 8))
    ((node, (old, new)),) = [(node, pair) for node in record.nodes for pair in node.written]
    assert old in node.inputs
    assert old != new
    assert record.makers[new] is node


def test_an_input_has_as_many_axes_as_its_size_says() -> None:
    for conv, size in ((nn.Conv1d, (3, 8)), (nn.Conv2d, (3, 8, 9)), (nn.Conv3d, (3, 8, 9, 7))):
        record = trace(conv(3, 4, 3), size)
        assert (record.input_size, record.ndim) == (size, len(size) - 1)
    assert torch.is_grad_enabled()
