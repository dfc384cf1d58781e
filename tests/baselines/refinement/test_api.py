"""refine() reaches its goal, leaves the given model alone and keeps its weights."""

import copy

import pytest
import torch
from torch import nn

from dynpool import convert, count_macs, freeze
from dynpool.analysis import receptive_field
from dynpool.baselines import refine
from tests.baselines.nets import Residual, chain, named, resnet


def test_weights_load_before_and_after_and_the_given_model_is_not_changed() -> None:
    model = resnet((4, 2), (8, 2), (8, 2)).eval()
    before = copy.deepcopy(model.state_dict())
    refined, plan = refine(model, (3, 12, 12))
    assert plan.reached
    assert plan.edits
    assert list(refined.state_dict()) == list(before)
    assert all(torch.equal(refined.state_dict()[k], v) for k, v in before.items())
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert not refined.training
    refined.load_state_dict(resnet((4, 2), (8, 2), (8, 2)).state_dict())
    again, unchanged = refine(model, (3, 100, 100))
    assert unchanged.edits == ()
    x = torch.randn(1, 3, 100, 100)
    assert torch.equal(again(x), model(x))


def test_bad_input() -> None:
    model = chain(2, 1)
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got str"):
        refine("resnet18", (3, 32, 32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="way must be one of 'less downsampling', 'shorter and wider', got 'wider'"):
        refine(model, (3, 32, 32), way="wider")
    with pytest.raises(ValueError, match=r"way is 'shorter and wider' and edits are given: .* omit one of them"):
        refine(model, (3, 32, 32), way="shorter and wider", edits="vgg19")
    with pytest.raises(ValueError, match=r"edits must be one of vgg19, .*, got 'vgg'"):
        refine(model, (3, 32, 32), edits="vgg")
    with pytest.raises(TypeError, match="edits must be the name of a published edit or a RefinementPlan, got 5"):
        refine(model, (3, 32, 32), edits=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input_size must be two to four positive ints"):
        refine(model, (3, 32, 0))
    with pytest.raises(ValueError, match="the model cannot run at input_size"):
        refine(nn.Conv2d(4, 4, 3), (3, 32, 32))
    learned = convert(chain(2, 1, 2, 1), (3, 32, 32))
    with pytest.raises(
        ValueError, match="model is a Sequential, which has learned resizers; refine the original model or a frozen one"
    ):
        refine(learned, (3, 32, 32))
    assert refine(freeze(learned), (3, 32, 32))[1].reached


@pytest.mark.parametrize(
    ("name", "i_res"),
    [
        ("tv.resnet18", 64),  # a pool and identity shortcuts
        ("timm.mobilenetv3_small_050", 96),  # squeeze-and-excitation
        ("timm.resnet18d", 32),  # average pools in the shortcuts
        ("tv.vgg11", 64),  # an adaptive pool onto 7x7
        ("timm.tf_efficientnet_lite0", 64),  # SAME padding
        ("timm.densenet121", 32),  # concatenation
        ("tv.googlenet", 64),  # parallel branches, pools that round up
    ],
)
def test_named_networks_reach_the_goal(name: str, i_res: int) -> None:
    model = named(name)
    refined, plan = refine(model, (3, i_res, i_res))
    assert plan.reached
    assert receptive_field(model, (3, i_res, i_res)).i_min == plan.i_min_before
    assert receptive_field(refined, (3, i_res, i_res)).i_min == plan.i_min_after
    assert count_macs(refined, (3, i_res, i_res)).gmacs == plan.gmacs_after
    assert {k: v.shape for k, v in refined.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_residual_block_of_the_tests_has_a_shortcut() -> None:
    assert isinstance(Residual(4, 4).shortcut, nn.Identity)
    assert isinstance(Residual(4, 8).shortcut, nn.Conv2d)
