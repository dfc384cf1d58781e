"""Small networks for the tests of static refinement."""

import timm
import torch
import torchvision
from timm.models.nasnet import NASNetALarge
from torch import Tensor, nn
from torch.nn import functional as F


def named(name: str) -> nn.Module:
    """A model by library and name, on the meta device."""
    lib, _, model = name.partition(".")
    with torch.device("meta"):
        return torchvision.models.get_model(model) if lib == "tv" else timm.create_model(model)


def nasnet_a_mobile() -> nn.Module:
    """NASNet-A (4 @ 1056) on the meta device; timm has only the large one, with six cells per stage."""
    with torch.device("meta"):
        return _ShorterNASNet(stem_size=32, num_features=1056)


class _ShorterNASNet(NASNetALarge):
    """Stages of four cells; every cell takes the outputs of the two before it."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        for number in (4, 5, 10, 11, 16, 17):
            delattr(self, f"cell_{number}")

    def forward_features(self, x: Tensor) -> Tensor:
        first = self.conv0(x)
        before = self.cell_stem_0(first)
        now = self.cell_stem_1(first, before)
        for number in (0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15):
            if number in (6, 12):  # the cell behind a reduction takes the input of the reduction
                now = self.get_submodule(f"reduction_cell_{number // 12}")(now, before)
            before, now = now, self.get_submodule(f"cell_{number}")(now, before)
        return self.act(now)


class Residual(nn.Module):
    """A basic block; its shortcut is the identity unless the stride or the channels change."""

    def __init__(self, taken: int, given: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(taken, given, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(given)
        self.conv2 = nn.Conv2d(given, given, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(given)
        same = stride == 1 and taken == given
        self.shortcut = nn.Identity() if same else nn.Conv2d(taken, given, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


def chain(*strides: int, kernel: int = 3) -> nn.Sequential:
    """3x3 convolutions in a row with the given strides, then a linear layer."""
    convs = [nn.Conv2d(3 if i == 0 else 4, 4, kernel, s, kernel // 2) for i, s in enumerate(strides)]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def resnet(*stages: tuple[int, int]) -> nn.Sequential:
    """A 3x3 stem, stages of (channels, blocks) of which all but the first begin with stride 2, a linear layer."""
    blocks: list[nn.Module] = []
    before = stages[0][0]
    for i, (channels, count) in enumerate(stages):
        first = Residual(before, channels, 1 if i == 0 else 2)
        blocks.append(nn.Sequential(first, *(Residual(channels, channels) for _ in range(count - 1))))
        before = channels
    stem = nn.Conv2d(3, stages[0][0], 3, padding=1)
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 5))
