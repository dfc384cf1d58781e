"""Freezing models with hand-placed resizers: the live model's outputs, export, refusals."""

import pytest
import torch
from torch import nn

import dynpool
from dynpool.baselines import DiffStride2d, ShapeAdaptor2d
from tests.dynpool.conversion.by_hand import ByHand

SIZE = (3, 32, 24)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes are constants of a trace
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
def test_hand_placed_resizers_are_frozen_at_their_strides(reduce):
    model = ByHand(alpha=(1.7, 2.6), reduce=reduce).eval()
    plain = dynpool.freeze(model)
    assert not [name for name in plain.state_dict() if "alpha" in name]
    for size in ((3, 32, 24), (3, 47, 61), (3, 5, 4)):  # at other inputs too
        x = torch.randn(2, *size)
        torch.testing.assert_close(plain(x), model(x))
    x = torch.randn(2, 3, 32, 24)
    for form in (
        torch.export.export(plain, (x,)).module(),
        torch.compile(plain, backend="eager", fullgraph=True),
        torch.jit.trace(plain, (x,)),
        torch.fx.symbolic_trace(plain),
    ):
        torch.testing.assert_close(form(x), model(x))
    assert dynpool.analysis.receptive_field(plain, SIZE).i_min == dynpool.analysis.receptive_field(model, SIZE).i_min
    assert dynpool.count_macs(plain, SIZE).total == dynpool.count_macs(model, SIZE).total


@pytest.mark.parametrize("kind", [DiffStride2d, ShapeAdaptor2d])
def test_other_hand_placed_resizers_are_frozen_at_the_size_of_an_input(kind):
    model = ByHand(kind).eval()
    del model.unused
    plain = dynpool.freeze(model, input_size=(3, 32, 24))
    x = torch.randn(2, 3, 32, 24)
    torch.testing.assert_close(plain(x), model(x))
    with pytest.raises(ValueError, match=f"needs input_size.*'first' is a {kind.__name__}"):
        dynpool.freeze(model)


def test_a_resizer_with_two_sizes_cannot_be_frozen_to_one():
    model = nn.Sequential(DiffStride2d(2.0))
    model.append(model[0])
    with pytest.raises(ValueError, match="needs one size in a pass"):
        dynpool.freeze(model, input_size=(3, 64, 64))


def test_freezing_leaves_a_hand_placed_model_as_it_was():
    model = ByHand(alpha=1.7).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = dynpool.freeze(model)
    assert plain.training
    assert isinstance(model.first, dynpool.DynOPool2d)
    assert model.again.root() is model.first
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_resizer_by_itself_is_frozen():
    plain = dynpool.freeze(dynpool.DynOPool2d((1.7, 2.6)))
    x = torch.randn(2, 3, 32, 24)
    torch.testing.assert_close(plain(x), dynpool.DynOPool2d((1.7, 2.6))(x))
    assert not list(plain.parameters())


class Thirds(dynpool.DynOPool2d):
    """Always three pixels."""

    def output_size(self, size, strides):
        return 3, 3


def test_a_subclass_with_sizes_of_its_own_is_frozen_to_the_size_of_an_input():
    model = nn.Sequential(Thirds(2.0))
    with pytest.raises(ValueError, match=r"needs input_size.*'0' is a Thirds"):
        dynpool.freeze(model)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(dynpool.freeze(model, input_size=(3, 16, 16))(x), model(x))


@pytest.mark.parametrize("size", [(3, 32), "x", 5, (5, 32, 24)])
def test_a_bad_input_size_is_refused(size):
    with pytest.raises(ValueError, match="input_size"):
        dynpool.freeze(nn.Sequential(nn.Conv2d(3, 4, 1), DiffStride2d(2.0)), input_size=size)
