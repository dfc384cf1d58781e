"""Where a network downsamples and could: combined layers change together, and fixed strides have a reason."""

import torch
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.baselines import refine
from tests.baselines.nets import Residual, chain, resnet


def test_layers_whose_outputs_are_combined_change_together() -> None:
    refined, plan = refine(resnet((4, 2), (8, 2), (8, 2)), (3, 18, 18))
    assert [c.layer for c in plan.edits[0].changes] == ["3.0.conv1", "3.0.shortcut"]
    assert receptive_field(refined, (3, 18, 18)).i_min == plan.i_min_after
    assert refined(torch.randn(1, 3, 18, 18)).shape == (1, 5)


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
