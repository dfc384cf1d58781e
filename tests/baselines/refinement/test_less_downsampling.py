"""Less downsampling: what is edited, along which axis, in modules and in functions."""

import torch
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.baselines import refine
from tests.baselines.nets import chain


def test_height_and_width_are_edited_separately_if_the_image_is_not_square() -> None:
    refined, plan = refine(chain(1, 2, 2, 1, 1), (3, 16, 64))
    assert plan.i_min_before == (25, 25)
    assert plan.i_min_after == (15, 25)  # the width, which fits, is left as it is
    assert len(plan.edits) == 1
    assert receptive_field(refined, (3, 16, 64)).i_min == (15, 25)


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
