"""The MACs of a cost model are those of a pass at the same sizes, whatever sizes are learned."""

import random

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.cost.cost_model import CostModel
from dynpool.resolution.tree import resolution_tree


def pools(n: int) -> nn.Module:
    layers = [layer for _ in range(n) for layer in (nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, padding=1))]
    return nn.Sequential(*layers)


class Windows(nn.Module):
    """Attention in windows of 4 pixels, for which the model pads its map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.mix = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        n, c, h, w = x.shape
        x = F.pad(x, (0, -w % 4, 0, -h % 4))
        x = x.view(n, c, x.shape[2] // 4, 4, x.shape[3] // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        x = self.mix(x) @ x.mT
        return x.mean()


class Crop(nn.Module):
    """Pads to a multiple of 4, and upsamples by a fraction."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 2, 2), nn.ConvTranspose2d(8, 3, 2, 2)
        self.pool, self.end = nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = self.up(self.down(F.pad(x, (0, -w % 4, 0, -h % 4))))[..., :h, :w]
        return self.end(F.interpolate(self.pool(x), scale_factor=1.7))


class Single(nn.Module):
    """A valid convolution that leaves a single pixel of the learned map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(4), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Conv2d(8, 16, 2), nn.Conv2d(16, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).mean((2, 3))


CASES: dict[str, tuple[nn.Module, tuple[int, int, int], dict[str, object]]] = {
    "maps of one pixel": (pools(4), (3, 16, 16), {}),
    "multiples": (pools(2), (3, 20, 36), {"multiple_of": 8}),
    "one pixel behind": (Single(), (3, 16, 16), {}),
    "windows": (Windows(), (3, 29, 37), {}),
    "pad, crop, fraction": (Crop(), (3, 29, 31), {}),
    "resnet18 at 32": (torchvision.models.resnet18(), (3, 32, 32), {}),
    "resnet18 before": (torchvision.models.resnet18(), (3, 33, 47), {"order": "before", "preserve": True}),
    "hrnet": (timm.create_model("hrnet_w18_small"), (3, 64, 96), {}),
    "davit": (timm.create_model("davit_tiny", depths=(1, 1, 1, 1)), (3, 130, 92), {}),  # blocks of a stage are alike
    "convnext": (timm.create_model("convnext_atto"), (3, 64, 64), {}),
}


@pytest.mark.filterwarnings("ignore:preserve=True")
@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_what_is_counted_at_random_sizes(case: str) -> None:
    model, size, options = CASES[case]
    learned = dynpool.convert(model, size, **options)  # type: ignore[arg-type]
    loss, tree, draw = dynpool.GMACsLoss(learned, size), resolution_tree(learned), random.Random(0)
    assert tree is not None
    assert loss.cost.exact
    assert loss.cost.macs() == dynpool.count_macs(learned, size).total
    for low, high in ((0.4, 1.0), (0.7, 1.8), (0.0, 0.0)):  # the last: the smallest there are
        wanted = {
            tree.nodes[i].name: rule.admit(
                tuple(max(2, round(n * draw.uniform(low, high))) for n in tree.nodes[i].reference)
            )
            for i, rule, _ in tree.learned
        }
        dynpool.set_sizes(learned, wanted)
        assert loss.cost.macs() == dynpool.count_macs(learned, size).total
        assert loss.value() == pytest.approx(loss().item(), rel=1e-6)


def test_every_learned_axis_that_costs_has_a_gradient() -> None:
    """Also where its size is the same at a larger input: at the floor of two pixels, or as a multiple."""
    model = pools(4)
    learned = dynpool.convert(model, (3, 16, 16), multiple_of=2)
    dynpool.GMACsLoss(learned, (3, 16, 16))().backward()
    for name, found in dynpool.resolutions(learned).items():
        assert found.alpha.grad is not None
        assert (found.alpha.grad < 0).all(), name


class Pools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = dynpool.DynOPool2d(4.0), dynpool.DynOPool2d((2.0, 3.0))
        self.c = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.c(self.a(x))[:, :3]))


def test_hand_placed_pools_at_the_floor() -> None:
    model = Pools()
    loss = dynpool.GMACsLoss(model, (3, 8, 8))
    assert loss.cost.exact
    for alphas in ((4.0, 4.0), (1.0, 0.8), (0.5, 2.0)):
        with torch.no_grad():
            model.a.shared_alpha().copy_(torch.tensor(alphas))
        assert loss.cost.macs() == dynpool.count_macs(model, (3, 8, 8)).total


class Moody(nn.Module):
    """Runs another layer above 5 pixels: no single structure tells its cost."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.small, self.large = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 9, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return self.large(x) if x.shape[-1] > 5 else self.small(x)


def test_what_no_structure_tells_is_costed_by_passes() -> None:
    learned = dynpool.convert(Moody(), (3, 16, 16), max_gmacs=20 * 20 * 9 * 27 / 1e9)
    cost = CostModel(learned, (3, 16, 16))
    assert not cost.exact
    for width in (3, 5, 6, 12):
        dynpool.set_sizes(learned, {"pool": (8, width)})
        assert cost.macs() == dynpool.count_macs(learned, (3, 16, 16)).total == 8 * width * 27 * (4 if width < 6 else 9)


class OneWindow(Windows):
    """Attention of another kind where the map is a single window, as in timm's efficientvit_m0."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        n, c, h, w = x.shape
        if (h, w) == (4, 4):
            return (x.flatten(2).mT @ x.flatten(2)).mean()
        x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        return (self.mix(x) @ x.mT).mean()


def test_a_branch_that_only_the_smallest_maps_take_is_noticed() -> None:
    learned = dynpool.convert(OneWindow(), (3, 8, 8))
    cost = CostModel(learned, (3, 8, 8))
    for size in ((4, 4), (4, 8), (8, 8), (12, 8)):
        dynpool.set_sizes(learned, {"stem": size})
        assert cost.macs() == dynpool.count_macs(learned, (3, 8, 8)).total


def test_macs_of_given_values_are_those_they_would_lead_to() -> None:
    learned = dynpool.convert(torchvision.models.resnet18(), (3, 64, 64))
    cost = CostModel(learned, (3, 64, 64))
    values = [(1.7, 2.2)] * len(cost.owners)
    wanted = cost.macs(values)
    assert wanted != cost.macs()
    with torch.no_grad():
        for pool, pair in zip(cost.owners, values, strict=True):
            pool.shared_alpha().copy_(torch.tensor(pair))
    dynpool.constrain(learned, trust=9.0)
    assert cost.macs() == wanted == dynpool.count_macs(learned, (3, 64, 64)).total
