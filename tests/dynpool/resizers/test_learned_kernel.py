"""Convolutions that learn their kernel: host values, bounds, drop-in shapes, compiled graphs; by a class of its own."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.resizers import LearnedKernelConv2d, constrain_kernels, host_extents, learned_kernels


class Blur(LearnedKernelConv2d):
    """A kernel of one weight per pair of channels, over 2 * round(height) + 1 by 2 * round(width) + 1 pixels."""

    def __init__(self, channels: int, height: float = 1.0, width: float = 1.0, **how: Any) -> None:
        super().__init__(channels, channels, **how)
        self.gains = nn.Parameter(torch.randn(channels, channels // self.groups))
        self.reach = nn.Parameter(torch.tensor([height, width]))
        self._seen = (height, width)

    def size_parameters(self):
        return (self.reach,)

    def extent_at(self, values):
        return 2 * round(max(values[0], 0)) + 1, 2 * round(max(values[1], 0)) + 1

    def learned_extent(self):
        return 2 * self.reach + 1

    def rounded_extent(self):
        return 2 * self.reach.detach().round().long() + 1

    def kernel(self, extent):
        return self.gains[:, :, None, None] * self.reach.prod() * torch.ones(extent, device=self.gains.device)


def test_the_extent_is_read_when_the_parameter_changes():
    layer = Blur(2, 1.0, 2.0)
    assert layer.extent == (3, 5)
    with torch.no_grad():
        layer.reach.copy_(torch.tensor([3.0, 0.2]))
    assert (layer.extent, layer.weight.shape) == ((7, 1), (2, 2, 7, 1))
    layer.reach.data[0] = 4.0
    assert layer.extent == (9, 1)


def test_several_layers_are_read_together_and_a_copy_for_itself():
    layers = [Blur(1, 1.0), Blur(1, 2.0)]
    twin = copy.deepcopy(layers[0])
    with torch.no_grad():
        twin.reach.fill_(5.0)
    assert host_extents([*layers, twin]) == [(3, 3), (5, 3), (11, 11)]


def test_values_that_functional_call_puts_in_place_count_only_there():
    layer = Blur(1)
    x = torch.randn(1, 1, 9, 9)
    other = {name: value.clone() for name, value in layer.named_parameters()} | {"reach": torch.tensor([2.0, 2.0])}
    y = torch.func.functional_call(layer, other, (x,))
    wide = Blur(1, 2.0, 2.0)
    wide.load_state_dict(other)
    assert torch.equal(y, wide(x))
    assert layer.extent == (3, 3)


def test_what_is_not_finite_becomes_the_last_value_and_a_change_of_size_is_told():
    layer = Blur(1, 2.0, 2.0)
    assert not constrain_kernels([layer])
    with torch.no_grad():
        layer.reach[0] = float("nan")
    assert not constrain_kernels([layer])
    assert layer.reach.tolist() == [2.0, 2.0]
    with torch.no_grad():
        layer.reach[1] = 3.0
    assert constrain_kernels([layer])
    assert not constrain_kernels([layer])


def test_dynpool_constrain_finds_them_in_any_model():
    net: Any = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(Blur(1)))
    with torch.no_grad():
        net[1][0].reach.fill_(float("inf"))
    dynpool.constrain(net)
    assert list(learned_kernels(net)) == ["1.0"]
    assert net[1][0].reach.tolist() == [1.0, 1.0]


def test_on_the_meta_device_only_shapes_are_known():
    layer = Blur(3, 2.0, 1.0, padding=1).to("meta")
    assert layer.weight.shape == (3, 3, 5, 3)
    assert layer(torch.empty(1, 3, 9, 9, device="meta")).shape == (1, 3, 9, 9)


def test_a_trace_sees_one_convolution_of_the_live_kernel_and_all_parameters():
    net = nn.Sequential(Blur(3, 2.0, 1.0, padding=1), nn.Conv2d(3, 4, 3, padding=1))
    rows = receptive_field(net, (3, 20, 20)).layers
    assert [(row.name, row.kernel, row.r_min, row.parameters) for row in rows] == [
        ("0", (5, 3), (5, 3), 9 + 2 + 3),
        ("1", (3, 3), (7, 5), 3 * 4 * 9 + 4),
    ]
    assert dynpool.count_macs(net, (3, 20, 20)).by_layer == {"0": 400 * 9 * 15, "1": 400 * 12 * 9}
    assert dynpool.count_macs(net, (3, 20, 20)).not_counted == {}


def test_a_strided_one_is_converted_like_a_plain_convolution():
    net = nn.Sequential(Blur(3, 2.0, 2.0, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
    learned = dynpool.convert(net, (3, 20, 20), preserve=True)
    assert dynpool.sizes(learned, (3, 20, 20)) == {"input": (20, 20), "0": (10, 10)}
    x = torch.randn(2, 3, 20, 20)
    torch.testing.assert_close(learned.eval()(x), net.eval()(x))
    dynpool.set_sizes(learned, {"0": (7, 13)})
    assert dynpool.freeze(learned)(x).shape == (2, 3, 7, 13)
    torch.testing.assert_close(dynpool.freeze(learned)(x), learned(x))


@pytest.mark.parametrize("stride", [1, 2])
def test_one_compiled_graph_serves_all_sizes_of_the_kernel(stride):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    layer = Blur(2, stride=stride, padding=1, groups=2).double()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True)
    x = torch.randn(2, 2, 13, 12, dtype=torch.float64)
    for reach in ((1.0, 1.0), (3.0, 0.0), (2.0, 5.0)):
        with torch.no_grad():
            layer.reach.copy_(torch.tensor(reach))
        for run in (compiled, layer):
            layer.zero_grad()
            given = x.clone().requires_grad_()
            y = run(given)
            y.square().sum().backward()
            found = [y.detach(), given.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]
            if run is compiled:
                expected = found
        torch.testing.assert_close(found, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_it_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        LearnedKernelConv2d(1, 1)  # type: ignore[abstract]
