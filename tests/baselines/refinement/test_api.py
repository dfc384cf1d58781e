"""refine() meets its criteria, compared with all choices of strides; plans can be stored and applied again."""

import copy
import itertools
import json
import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from dynpool import convert, count_macs, freeze
from dynpool.analysis import receptive_field
from dynpool.baselines import RefinementPlan, refine
from tests.baselines.nets import Residual, chain, named, resnet

Strides = tuple[int, ...]


def placed(strides: Strides) -> Iterator[tuple[int, Strides]]:
    """All results of removing strides of a chain or moving them to later layers, with their numbers of edits."""
    steps = [i for i, s in enumerate(strides) if s > 1]
    for chosen in (c for k in range(1, len(steps) + 1) for c in itertools.combinations(steps, k)):
        places = [[None, *(j for j in range(i + 1, len(strides)) if strides[j] == 1)] for i in chosen]
        for targets in itertools.product(*places):
            if len({t for t in targets if t is not None}) == sum(t is not None for t in targets):
                now = [1 if i in chosen else s for i, s in enumerate(strides)]
                for target in targets:
                    if target is not None:
                        now[target] = 2
                yield len(chosen), tuple(now)


@pytest.mark.parametrize("i_res", [14, 19, 24, 31, 40])
@pytest.mark.parametrize("strides", [(1, 2, 1, 2, 1, 1), (2, 1, 2, 2, 1, 1), (2, 2, 1, 1, 2, 1)])
def test_fewest_edits_then_i_min_closest_then_fewest_macs(strides: Strides, i_res: int) -> None:
    size = (3, i_res, i_res)
    _, plan = refine(chain(*strides), size)
    outcomes = []
    for edits, now in placed(strides):
        i_min = receptive_field(chain(*now), size).i_min[0]
        if i_min < i_res:
            outcomes.append((edits, i_res - i_min, count_macs(chain(*now), size).gmacs))
    if receptive_field(chain(*strides), size).i_min[0] < i_res:
        assert plan.edits == ()
    else:
        assert (len(plan.edits), i_res - plan.i_min_after[0], plan.gmacs_after) == min(outcomes)


def test_height_and_width_are_edited_separately_if_the_image_is_not_square() -> None:
    refined, plan = refine(chain(1, 2, 2, 1, 1), (3, 16, 64))
    assert plan.i_min_before == (25, 25)
    assert plan.i_min_after == (15, 25)  # the width, which fits, is left as it is
    assert len(plan.edits) == 1
    assert receptive_field(refined, (3, 16, 64)).i_min == (15, 25)


def test_layers_whose_outputs_are_combined_change_together() -> None:
    refined, plan = refine(resnet((4, 2), (8, 2), (8, 2)), (3, 18, 18))
    assert [c.layer for c in plan.edits[0].changes] == ["3.0.conv1", "3.0.shortcut"]
    assert receptive_field(refined, (3, 18, 18)).i_min == plan.i_min_after
    assert refined(torch.randn(1, 3, 18, 18)).shape == (1, 5)


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


def test_a_plan_stored_as_json_applies_again() -> None:
    model = resnet((4, 2), (8, 2), (8, 2)).eval()
    refined, plan = refine(model, (3, 12, 12))
    read = RefinementPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert read == plan
    x = torch.randn(1, 3, 12, 12)
    assert torch.equal(read.apply(model)(x), refined.eval()(x))
    layer = re.escape(plan.edits[0].changes[0].layer)
    with pytest.raises(ValueError, match=rf"stride of {layer} is 1 in this Sequential, the plan expects 2"):
        read.apply(refined)
    with pytest.raises(ValueError, match=rf"Sequential has no layer '{layer}'"):
        read.apply(chain(1, 1, 1))
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got int"):
        read.apply(3)  # type: ignore[arg-type]


def test_printed_plans() -> None:
    _, plan = refine(chain(1, 2, 2, 1), (3, 16, 64))
    assert str(plan) == (
        "edit   layer          before      after\n"
        "moved  2      stride  2       ->  1x2\n"
        "       3      stride  1       ->  2x1\n"
        "1 edit (less downsampling): I_min 17 -> 13x17, below I_res 16x64\n"
        "GMACs 0.0001659 -> 0.0001751, parameters 0.000566 M -> 0.000566 M"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"way": None}, "missing key 'way'"),
        ({"input_size": [3, 32]}, "not a refinement plan"),
        ({"edits": [{"what": "x", "changes": [{"layer": "0", "attribute": "colour", "before": [1], "after": [2]}]}]},
         "attribute must be one of stride, window"),
        ({"i_min_before": "far"}, "not a refinement plan"),
    ],
)  # fmt: skip
def test_from_dict_rejects_what_is_not_a_plan(changed: dict[str, object], message: str) -> None:
    plain = refine(chain(1, 2, 1), (3, 9, 9))[1].to_dict() | changed
    with pytest.raises(ValueError, match=message):
        RefinementPlan.from_dict({k: v for k, v in plain.items() if v is not None})


def test_pools_are_removed_and_patches_overlap() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)
    )
    refined, plan = refine(model, (3, 24, 24))
    assert plan.i_min_before == (32, 32)
    assert isinstance(refined.get_submodule("2"), nn.Identity)
    assert plan.i_min_after == (20, 20)
    refined, plan = refine(nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 7, padding=3)), (3, 24, 24))
    patches = refined.get_submodule("0")
    assert isinstance(patches, nn.Conv2d)
    assert patches.stride == (3, 3)
    assert patches.kernel_size == (4, 4)
    assert plan.edits[0].what == "weakened"
    assert plan.i_min_after == (22, 22)


def test_pools_called_as_functions_are_edited_like_modules() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(nn.functional.max_pool2d(self.a(x), 2))

    model = Functional()
    refined, plan = refine(model, (3, 8, 8))
    assert plan.i_min_before == (8, 8)
    assert [c.layer for c in plan.edits[0].changes] == ["resize_0", "b"]
    assert receptive_field(refined, (3, 8, 8)).i_min == plan.i_min_after == (5, 5)
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(refined(x), plan.apply(model)(x))
    assert torch.equal(refined(x), nn.functional.conv2d(model.a(x), model.b.weight, model.b.bias, 2, 1))
    assert list(refined.state_dict()) == list(model.state_dict())


def test_unreachable_goals_have_a_reason() -> None:
    refined, plan = refine(chain(2, 1, 1, 1), (3, 9, 9))
    assert not plan.reached
    assert plan.edits == ()
    assert plan.why == "even without any of the 1 removable downsamplings, I_min is 9x9"
    assert plan.why in str(plan)
    assert refined.get_submodule("0").stride == (2, 2)

    class Sliced(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x[:, :, ::2, ::2])

    _, plan = refine(Sliced(nn.Conv2d(3, 4, 5, padding=2)), (3, 8, 8))
    assert plan.why == "no stride of the model can be changed"

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(x))

    _, plan = refine(Twice(), (3, 6, 6))
    assert plan.why == "no stride of the model can be changed"
    assert plan.stays == {"conv": "conv runs more than once in a pass"}
    assert "cannot be changed: conv: conv runs more than once in a pass" in str(plan)

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for down in self.down:
                x = x + nn.functional.interpolate(down(x), scale_factor=2)
            return x

    _, plan = refine(Fused(), (3, 2, 2))
    assert plan.why == "no stride of the model can be changed"
    assert plan.stays == {f"down.{i}": "its output is upsampled and combined with its input" for i in range(6)}
    assert "cannot be changed: down.0, down.1, down.2, down.3 and 2 more: its output is upsampled" in str(plan)

    class Reshaped(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            patches = x.view(1, 3, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 12, 4, 4)
            return super().forward(patches)

    _, plan = refine(Reshaped(nn.Conv2d(12, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)), (3, 8, 8))
    assert plan.why == "no stride of the model can be changed"
    assert plan.stays["0"].startswith("its map is partitioned or reshaped")

    class Sized(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).flatten(1) @ torch.ones(4 * 6 * 6, 2)

    _, plan = refine(Sized(nn.Conv2d(3, 4, 3, 2, 1), Residual(4, 4)), (3, 11, 11))
    assert not plan.reached
    assert "removed 0: the model cannot run at input_size=(3, 11, 11)" in plan.why


def test_bad_input() -> None:
    model = chain(2, 1)
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got str"):
        refine("resnet18", (3, 32, 32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="way must be one of 'less downsampling', 'shorter and wider', got 'wider'"):
        refine(model, (3, 32, 32), way="wider")
    with pytest.raises(ValueError, match=r"edits must be one of vgg19, .*, got 'vgg'"):
        refine(model, (3, 32, 32), edits="vgg")
    with pytest.raises(TypeError, match="edits must be the name of a published edit or a RefinementPlan, got 5"):
        refine(model, (3, 32, 32), edits=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input_size must be three positive ints"):
        refine(model, (3, 32))
    with pytest.raises(ValueError, match="the model cannot run at input_size"):
        refine(nn.Conv2d(4, 4, 3), (3, 32, 32))
    learned = convert(chain(2, 1, 2, 1), (3, 32, 32))
    with pytest.raises(
        ValueError, match="the Sequential has learned resizers; refine the original model or a frozen one"
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


@pytest.mark.parametrize("plain", [3, None, [{"way": "x"}], "plan"])
def test_what_is_no_dict_is_no_plan(plain: object) -> None:
    with pytest.raises(ValueError, match=f"not a refinement plan: expected a dict, got a {type(plain).__name__}"):
        RefinementPlan.from_dict(plain)  # type: ignore[arg-type]


def test_edits_of_a_plan_are_made_again_and_measured() -> None:
    model = chain(2, 2, 1, 1)
    refined, plan = refine(model, (3, 16, 16))
    again, same = refine(model, (3, 16, 16), edits=plan)
    assert same == plan
    assert len(plan.edits) > 0
    for one, other in zip(refined.modules(), again.modules(), strict=True):
        assert getattr(one, "stride", None) == getattr(other, "stride", None)
    _, larger = refine(model, (3, 32, 32), edits=RefinementPlan.from_dict(plan.to_dict()))
    assert (larger.edits, larger.input_size) == (plan.edits, (3, 32, 32))
    assert larger.gmacs_after == pytest.approx(count_macs(again, (3, 32, 32)).total / 1e9)


def test_a_plan_of_another_network() -> None:
    _, plan = refine(chain(2, 2, 1, 1), (3, 16, 16))
    with pytest.raises(
        ValueError, match=r"a plan \(less downsampling\), which does not fit .* with I_min 23, this one has 31"
    ):
        refine(chain(2, 2, 1, 1, 1), (3, 16, 16), edits=plan)
    wider = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 8, 8, 3, s, 1) for i, s in enumerate((2, 2, 1, 1))))
    _, other = refine(wider, (3, 16, 16), edits=plan)
    assert "the edits were found for a network of" in str(other)
