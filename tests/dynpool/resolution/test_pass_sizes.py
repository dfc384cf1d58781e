"""Parts of a converted or frozen model run at the sizes that the whole would have, or say that they cannot."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from torchvision.models._utils import IntermediateLayerGetter

import dynpool

SIZE = (3, 64, 64)


@pytest.fixture(scope="module")
def converted() -> nn.Module:
    torch.manual_seed(0)
    model = dynpool.convert(torchvision.models.resnet18(num_classes=4), SIZE, preserve=True).eval()
    dynpool.set_sizes(model, {"conv1": (27, 33), "layer2.0.conv1": (9, 7), "layer4.0.conv1": (2, 3)})
    return model


def trunk(model: nn.Module) -> nn.Sequential:
    return nn.Sequential(*list(model.children())[:-2])


@pytest.mark.parametrize("duplicate", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("frozen", [False, True])
def test_its_children_in_order_compute_what_it_computes(
    converted: nn.Module, duplicate: Callable[[nn.Module], nn.Module], frozen: bool
) -> None:
    model = dynpool.freeze(converted) if frozen else converted
    part = duplicate(trunk(model))
    with torch.no_grad():
        for size in ((96, 64), (64, 64), (65, 131)):
            x = torch.randn(1, 3, *size)
            seen: list[Tensor] = []
            handle = model.get_submodule("layer4").register_forward_hook(lambda m, a, y, seen=seen: seen.append(y))
            alone = part(x)
            model(x)
            handle.remove()
            torch.testing.assert_close(alone, seen[-1])


def test_sizes_of_parts_follow_the_alphas(converted: nn.Module) -> None:
    model = copy.deepcopy(converted)
    features = IntermediateLayerGetter(model, {"layer2": "a", "layer4": "b"})
    x = torch.randn(1, 3, 64, 64)
    for size in ((9, 7), (5, 12), (8, 8)):
        dynpool.set_sizes(model, {"layer2.0.conv1": size})
        maps = features(x)
        assert tuple(maps["a"].shape[-2:]) == size
        assert tuple(maps["b"].shape[-2:]) == dynpool.sizes(model, SIZE)["layer4.0.conv1"]
    dynpool.resolutions(model)["layer2.0.conv1"].alpha.data.fill_(4.0)
    assert tuple(features(x)["a"].shape[-2:]) == dynpool.sizes(model, SIZE)["layer2.0.conv1"]


def test_a_block_alone_goes_by_the_map_that_it_is_given(converted: nn.Module) -> None:
    model = copy.deepcopy(converted)
    alpha = dynpool.resolutions(model)["layer2.0.conv1"].alpha.tolist()
    for h, w in ((40, 31), (12, 17), (14, 16)):
        y = model.get_submodule("layer2")(torch.randn(1, 64, h, w))
        assert tuple(y.shape[-2:]) == (round(h / alpha[0]), round(w / alpha[1]))


class Fused(nn.Module):
    """A coarse map is brought back to the size of a fine one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.up = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Upsample(scale_factor=2))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.stem(x)
        y: Tensor = fine + self.up(self.down(fine))
        return y


def test_what_a_map_does_not_tell_is_an_error_and_no_guess() -> None:
    model = dynpool.convert(Fused(), (3, 32, 32)).eval()
    up = model.get_submodule("up")
    model(torch.randn(1, 3, 32, 32))
    assert up(torch.randn(1, 4, 8, 8)).shape[-2:] == (16, 16)  # of the last pass
    with pytest.raises(RuntimeError, match=r"map of 10x10 pixels is ambiguous"):
        up(torch.randn(1, 4, 10, 10))  # from fine maps of 19, 20 or 21 pixels
    fine = model.get_submodule("stem")(torch.randn(1, 3, 44, 42))
    coarse = model.get_submodule("down")(fine)
    assert (fine + up(coarse)).shape[-2:] == (22, 21)


class Checkpointed(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, 2, 1)
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, 2, 1))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.how == "segments":
            y = checkpoint_sequential(self.b, 2, x, use_reentrant=False)
        elif self.how == "nested":
            y = checkpoint(lambda z: checkpoint(self.b, z, use_reentrant=False), x, use_reentrant=False)
        elif self.how in ("reentrant", "saved"):
            y = checkpoint(self.b, x, use_reentrant=self.how == "reentrant")
        else:
            y = self.b(x)
        assert isinstance(y, Tensor)
        return y


@pytest.mark.parametrize("how", ["reentrant", "saved", "nested", "segments", "whole"])
def test_recomputed_passes_have_the_sizes_that_they_had(how: str) -> None:
    crops = [torch.randn(2, 3, n, m) for n, m in ((48, 44), (32, 32), (46, 45))]
    gradients = []
    for kind in ("", how):
        torch.manual_seed(0)
        model = dynpool.convert(Checkpointed(""), (3, 32, 32))
        model.how = kind  # type: ignore[assignment]
        run = (lambda x, m=model: checkpoint(m, x, use_reentrant=False)) if kind == "whole" else model
        torch.stack([run(x).square().mean() for x in crops]).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(*gradients)


def test_a_pass_that_fails_does_not_leave_the_model_in_it(converted: nn.Module) -> None:
    model = copy.deepcopy(converted)
    with pytest.raises(RuntimeError):
        model(torch.randn(1, 4, 64, 64))  # four channels
    assert (
        trunk(model)(torch.randn(1, 3, 128, 128)).shape[-2:] == (dynpool.sizes(model, (3, 128, 128))["layer4.0.conv1"])
    )
