"""What is asked of a wrapper is answered for the converted model in it."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import dynpool
from dynpool.analysis import IMinTracker, effective_receptive_field, receptive_field
from dynpool.baselines import refine, shape_adaptor_network
from tests.networks import two_resizers

SIZE = (3, 32, 32)


class Around(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


@pytest.mark.parametrize("wrap", [Around, AveragedModel, torch.compile, nn.DataParallel])
def test_answers_are_those_of_the_model_inside(wrap: type, tmp_path: Path) -> None:
    model = dynpool.convert(two_resizers(), SIZE)
    wrapper = wrap(model)
    inner = wrapper.module if wrap is AveragedModel else model  # that one has a copy
    dynpool.set_sizes(wrapper, {"1": (11, 21)})
    assert dynpool.sizes(inner, SIZE)["1"] == (11, 21)
    assert dynpool.sizes(wrapper, SIZE) == dynpool.sizes(inner, SIZE)
    assert dynpool.resolutions(wrapper).keys() == dynpool.resolutions(inner).keys()
    assert str(dynpool.conversion_report(wrapper)) == str(dynpool.conversion_report(inner))
    assert dynpool.GMACsLoss(wrapper, SIZE).value() == dynpool.GMACsLoss(inner, SIZE).value()
    tracked = IMinTracker(wrapper, SIZE, tmp_path / "log.jsonl").log(0)
    assert tracked["sizes"]["1"] == [11, 21]
    if wrap is Around:
        with pytest.raises(ValueError, match="its child 'net' is one, freeze that"):
            dynpool.freeze(wrapper)
    else:
        assert set(dynpool.freeze(wrapper).state_dict()) == set(dynpool.freeze(inner).state_dict())
        assert dynpool.count_macs(wrapper, SIZE).by_layer == dynpool.count_macs(inner, SIZE).by_layer
        assert receptive_field(wrapper, SIZE).i_min == receptive_field(inner, SIZE).i_min


@pytest.mark.parametrize("wrap", [AveragedModel, torch.compile, nn.DataParallel])
def test_layers_of_a_wrapped_model_are_not_replaced(wrap: type) -> None:
    wrapper = wrap(two_resizers())
    said = f"model is a {type(wrapper).__name__}, which wraps a Sequential: "
    with pytest.raises(ValueError, match=f"{said}convert that, then wrap the result"):
        dynpool.convert(wrapper, SIZE)
    with pytest.raises(ValueError, match=f"{said}refine that, then wrap the result"):
        refine(wrapper, SIZE)
    with pytest.raises(ValueError, match=f"{said}adapt that, then wrap the result"):
        shape_adaptor_network(wrapper, SIZE)
    field = effective_receptive_field(wrapper, SIZE, samples=1)
    assert field.size == effective_receptive_field(two_resizers(), SIZE, samples=1).size


def test_the_ceiling_holds_through_a_wrapper() -> None:
    limit = dynpool.count_macs(dynpool.convert(two_resizers(), SIZE), SIZE).gmacs * 1.2
    models = [dynpool.convert(two_resizers(), SIZE, max_gmacs=limit) for _ in range(2)]
    wrapper = nn.ModuleList([*models, dynpool.DynOPool2d()])
    for _ in range(12):
        with torch.no_grad():
            for name, parameter in wrapper.named_parameters():
                if name.endswith("alpha"):
                    parameter.mul_(0.9)
        dynpool.constrain(wrapper)
        assert all(dynpool.count_macs(model, SIZE).gmacs <= limit for model in models)
    assert all(dynpool.count_macs(model, SIZE).gmacs > limit * 0.9 for model in models)


def test_several_converted_models_are_named_and_weights_beside_one_are_refused() -> None:
    model = dynpool.convert(two_resizers(), SIZE)
    with pytest.raises(ValueError, match="contains 2 converted models: pass one of 0, 1"):
        dynpool.resolutions(nn.ModuleList([model, copy.deepcopy(model)]))
    with pytest.raises(ValueError, match=r"has weights outside the converted model in it \(1.weight"):
        dynpool.GMACsLoss(nn.Sequential(model, nn.Conv2d(8, 8, 1)), SIZE)
