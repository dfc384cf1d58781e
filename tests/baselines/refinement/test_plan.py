"""Plans can be printed, stored and applied again; what is none is refused."""

import json
import re

import pytest
import torch
from torch import nn

from dynpool import count_macs
from dynpool.baselines import RefinementPlan, refine
from tests.baselines.nets import chain, resnet


def test_a_plan_stored_as_json_applies_again() -> None:
    model = resnet((4, 2), (8, 2), (8, 2)).eval()
    refined, plan = refine(model, (3, 12, 12))
    read = RefinementPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert read == plan
    x = torch.randn(1, 3, 12, 12)
    assert torch.equal(read.apply(model)(x), refined.eval()(x))
    layer = re.escape(plan.edits[0].changes[0].layer)
    with pytest.raises(ValueError, match=rf"stride of {layer} is 1 in this Sequential, but the plan expects 2"):
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
        "MMACs 0.1659 -> 0.1751, parameters 566 -> 566"
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
        ValueError, match=r"a plan \(less downsampling\), which does not fit .* with I_min 23, but this one has 31"
    ):
        refine(chain(2, 2, 1, 1, 1), (3, 16, 16), edits=plan)
    wider = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 8, 8, 3, s, 1) for i, s in enumerate((2, 2, 1, 1))))
    _, other = refine(wider, (3, 16, 16), edits=plan)
    assert "the edits were found for a network of" in str(other)
