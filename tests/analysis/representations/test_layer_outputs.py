"""Layer outputs equal those of a pass by hand, and the model stays as it was."""

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis.representations.layer_outputs import LayerOutputs
from tests.networks import three_resizers

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def outputs(model, layers=None, *, pooled=True):
    return LayerOutputs("model_a", model, layers, "layers", pooled=pooled)


@pytest.mark.parametrize("pooled", [True, False])
def test_values_are_those_before_layers_that_write_in_place(pooled):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    found = outputs(model, pooled=pooled)(IMAGES, 0)
    first = model[0](IMAGES).detach()
    wanted = {"0": first, "2": model[2](first.relu()).detach()}
    assert list(found) == ["0", "2"]
    for name, values in wanted.items():
        features = values.double().mean((2, 3)) if pooled else values.double().flatten(1)
        torch.testing.assert_close(found[name], features)


def test_layers_are_in_order_of_execution_and_linear_ones_are_as_they_are():
    model = three_resizers().eval()
    found = outputs(model, ["10", "4", "2"])(IMAGES, 0)
    assert list(found) == ["2", "4", "10"]
    torch.testing.assert_close(found["10"], model(IMAGES).detach().double())


def test_the_model_stays_as_it_was():
    model = dynpool.convert(three_resizers(), (3, 16, 16)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [dict(m._forward_hooks) for m in model.modules()]
    outputs(model)(IMAGES, 0)
    assert all(m.training for m in model.modules())
    assert hooks == [dict(m._forward_hooks) for m in model.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Tricky(nn.Module):
    """A layer that runs twice, one that never runs, one that gives a tuple, one that splits each image."""

    def __init__(self):
        super().__init__()
        self.twice, self.never, self.pair = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.LSTM(16, 2)
        self.split = nn.Flatten(0, 1)

    def forward(self, x):
        x = self.twice(self.twice(x))
        self.pair(x[:, 0])
        return self.split(x)


def test_a_layer_that_runs_twice_has_two_outputs():
    model = Tricky()
    found = outputs(model, ["twice", "twice"])(IMAGES, 0)
    once = model.twice(IMAGES).detach()
    assert list(found) == ["twice", "twice#2"]
    torch.testing.assert_close(found["twice"], once.mean((2, 3)).double())
    torch.testing.assert_close(found["twice#2"], model.twice(once).detach().mean((2, 3)).double())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["never"], "model_a: 'never' did not run"),
        (["pair"], "layer 'pair' gives a tuple, not a tensor"),
        (["split"], "layer 'split' has 9 rows for 3 images"),
        (["twise"], "layers: the Tricky has no layer 'twise'; did you mean 'twice'"),
        ([], "layers is empty"),
        ("twice", "must be a list of names"),
        ([3], "must be a list of names"),
    ],
)
def test_layers_without_outputs_are_errors(layers, message):
    with pytest.raises((TypeError, ValueError), match=message):
        outputs(Tricky(), layers)(IMAGES, 0)


def test_no_layer_and_no_number():
    with pytest.raises(ValueError, match="layers: the ReLU has no convolution or linear layer"):
        outputs(nn.ReLU())
    model = three_resizers()
    with torch.no_grad():
        model[3].get_parameter("bias")[2] = torch.nan
    with pytest.raises(ValueError, match="model_a: the output of layer '3' has NaN or infinities in batch 5"):
        outputs(model)(IMAGES, 5)
