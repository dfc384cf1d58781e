"""Networks with Shape Adaptors: positions and initial sizes as published, training, freezing and errors."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet50, vgg16

import dynpool
from dynpool.analysis import IMinTracker
from dynpool.baselines import ShapeAdaptor2d, alpha_optimizer, shape_adaptor_network
from dynpool.baselines.shape_adaptor.networks import Mode


def vgg(pixels: int) -> nn.Module:
    model = vgg16(num_classes=10)
    if pixels == 32:
        model.features = model.features[:-1]  # the form for CIFAR has four pools
    return model


def resnet(pixels: int) -> nn.Module:
    model = resnet50(num_classes=10)
    if pixels == 32:
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model


def mobilenet(pixels: int) -> nn.Module:
    model = mobilenet_v2(num_classes=10)
    if pixels == 32:
        model.features[0][0].stride = (1, 1)
        model.features[2].conv[1][0].stride = (1, 1)
    return model


CONVOLUTIONS = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]  # of VGG-16, in `features`
BLOCKS = [f"layer{i}.{k}" for i, n in enumerate((3, 4, 6, 3), 1) for k in range(n)]


def layer_sizes(network: nn.Module, backbone: Callable[[int], nn.Module], pixels: int) -> list[int]:
    """Inputs of the convolutions (VGG, then its output), or of the blocks behind the stem's output."""
    found: list[int] = []
    if backbone is vgg:
        before, after = [f"features.{i}" for i in CONVOLUTIONS], ["features"]
    elif backbone is resnet:
        before, after = BLOCKS, ["relu"]
    else:
        before, after = [f"features.{i}" for i in range(1, 19)], ["features.0"]
    for name in before:
        network.get_submodule(name).register_forward_pre_hook(lambda _, args: found.append(args[0].shape[-1]))
    for name in after:
        network.get_submodule(name).register_forward_hook(lambda _, args, out: found.append(out.shape[-1]))
    network.eval()(torch.zeros(1, 3, pixels, pixels, device="meta"))
    return found


def runs(text: str) -> list[int]:
    """ "32 22x3" is [32, 22, 22, 22]."""
    return [int(n) for part in text.split() for n, _, times in [part.partition("x")] for _ in range(int(times or 1))]


# Sizes at initialisation along the network (for VGG-16 with its output), and the layers that adaptors stand behind.
PUBLISHED = [
    (vgg, "standard", 32, 4, "32 22x3 15x3 10x3 7x4", [f"features.{i}" for i in (0, 7, 14, 21)]),
    (vgg, "autosc", 32, 2, "32 30 15x2 8x3 4x3 2x4", ["features.0", "features.17"]),
    (vgg, "standard", 224, 6, "224 128x2 73x2 41x2 23x2 13x2 7x3", [f"features.{i}" for i in (0, 5, 10, 14, 19, 24)]),
    (vgg, "autosc", 224, 4, "224 213 107x2 54 51x2 26 24x2 12 11x2 6", [f"features.{i}" for i in (0, 10, 17, 24)]),
    (resnet, "standard", 32, 4, "32 22x4 15x4 10x4 7x4", ["conv1", "layer2.0", "layer3.0", "layer3.4"]),
    (resnet, "autosc", 32, 2, "32 32x2 30x2 15x4 8x2 7x4 4x2", ["layer1.1", "layer3.2"]),
    (
        resnet,
        "standard",
        224,
        6,
        "224 128x2 73x3 41x3 23x2 13x3 7x3",
        ["conv1", "layer1.1", "layer2.1", "layer3.0", "layer3.2", "layer3.5"],
    ),
    (
        resnet,
        "autosc",
        224,
        4,
        "112 56x2 53x2 27x2 25x2 13x2 12x3 11 6x2",
        ["layer1.1", "layer2.2", "layer3.2", "layer3.5"],
    ),
    (
        resnet,
        "autotl",
        224,
        5,
        "123 67x4 36x4 19x6 10x2",
        ["conv1", "maxpool", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"],
    ),
    (
        mobilenet,
        "standard",
        32,
        4,
        "32 22x4 15x5 10x4 7x5",
        ["features.0.0", "features.4", "features.9", "features.13"],
    ),
    (mobilenet, "autosc", 32, 3, "32 32x2 30x2 15x3 8 7x6 4x4", ["features.2", "features.8", "features.12"]),
    (
        mobilenet,
        "standard",
        224,
        6,
        "224 128x3 73x3 41x3 23x3 13x3 7x3",
        ["features.0.0", *(f"features.{i}" for i in (3, 6, 9, 12, 15))],
    ),
    (
        mobilenet,
        "autosc",
        224,
        4,
        "112 112x2 56 53 27x3 14 13x3 12x3 6x4",
        [f"features.{i}" for i in (3, 8, 11, 15)],
    ),
]


@pytest.mark.parametrize(("backbone", "mode", "pixels", "adaptors", "sizes", "behind"), PUBLISHED)
def test_positions_and_initial_sizes_are_as_published(
    backbone: Callable[[int], nn.Module], mode: Mode, pixels: int, adaptors: int, sizes: str, behind: list[str]
) -> None:
    with torch.device("meta"):
        model = backbone(pixels)
    usual = mode == "autotl" or (backbone is not mobilenet or mode == "standard" or pixels == 224)
    network = shape_adaptor_network(
        model, (3, pixels, pixels), mode=mode, adaptors=None if usual else adaptors, parity=mode == "autosc"
    )
    found = dynpool.resolutions(network)
    assert list(found) == behind
    assert len(found) == adaptors
    seen = layer_sizes(network, backbone, pixels)
    assert seen == runs(sizes)


# --- on a network of six layers ---------------------------------------------------------------------------------------


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    for _ in range(5):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def heights(model: nn.Module, pixels: int = 32) -> list[int]:
    return [h for h, _ in dynpool.sizes(model, (3, pixels, pixels)).values()]


def test_memory_bound_of_the_paper() -> None:
    network = shape_adaptor_network(plain(), (3, 32, 32), limit=6)
    assert heights(network) == [32, 21, 13, 8, 5]
    assert heights(shape_adaptor_network(plain(), (3, 32, 32))) == [32, 22, 15, 10, 7]
    shapes: list[int] = []
    network[-4].register_forward_hook(lambda _, args, out: shapes.append(out.shape[-1]))  # type: ignore[index]
    network(torch.zeros(1, 3, 32, 32))  # the limit holds from the first pass on
    assert shapes == [5]


def test_exact_counting_follows_the_maps_and_parity_the_published_halving() -> None:
    exact = shape_adaptor_network(plain(), (3, 27, 27), mode="autosc", adaptors=2)
    drifting = shape_adaptor_network(plain(), (3, 27, 27), mode="autosc", adaptors=2, parity=True)
    s = 0.5 + 0.5 / (1 + torch.tensor(-2.19).double().exp().item())
    assert heights(exact, 27) == [27, 13, round(13 * s), round(13 * s * s)]  # the pool makes 13 pixels of 27
    assert heights(drifting, 27) == [27, 14, round(13.5 * s), round(13.5 * s * s)]


def test_weights_load_from_the_backbone_which_is_not_changed() -> None:
    model = plain()
    before = list(model.modules())
    for mode in ("standard", "autosc"):
        network = shape_adaptor_network(model, (3, 32, 32), mode=mode)
        keys = network.load_state_dict(model.state_dict(), strict=False)
        assert not keys.unexpected_keys
        assert all(key.endswith("adaptor.alpha") for key in keys.missing_keys)
    assert list(model.modules()) == before
    assert not any(isinstance(m, ShapeAdaptor2d) for m in model.modules())


def test_it_trains_tracks_and_freezes(tmp_path: Path) -> None:
    network = shape_adaptor_network(plain(), (3, 32, 32), limit=6)
    weights = torch.optim.SGD(dynpool.parameter_groups(network)[:1], lr=0.01)
    alphas = alpha_optimizer(network, lr=5.0, every=2)
    tracker = IMinTracker(network, (3, 32, 32), tmp_path / "log.jsonl")
    gmacs = dynpool.GMACsLoss(network, (3, 32, 32))
    records = [tracker.log(0)]
    for step in range(1, 5):
        weights.zero_grad()
        alphas.zero_grad()
        images = torch.randn(2, 3, 32, 32)
        (network(images).square().mean() + 100 * gmacs()).backward()
        weights.step()
        alphas.step()
        dynpool.constrain(network)
        records.append(tracker.log(step))
    assert records[1]["alphas"] == records[0]["alphas"]
    assert records[2]["alphas"] != records[0]["alphas"]
    assert records[4]["gmacs"] < records[0]["gmacs"]
    assert records[4]["gmacs"] == pytest.approx(dynpool.count_macs(network, (3, 32, 32)).gmacs)
    network.eval()
    images = torch.randn(2, 3, 32, 32)
    frozen = dynpool.freeze(network)
    assert torch.equal(frozen(images), network(images))
    assert "removed" in str(dynpool.conversion_report(network))


class Named(nn.Module):
    """A block that already has an attribute with the adaptor's name."""

    def __init__(self, adaptor: nn.Module | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.adaptor = adaptor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x).relu()
        return y if self.adaptor is None else self.adaptor(y)


@pytest.mark.parametrize("make", [lambda: None, lambda: nn.BatchNorm2d(8)])
def test_an_attribute_called_adaptor_keeps_its_name(make: Callable[[], nn.Module | None]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *(Named(make()) for _ in range(4))).eval()
    network = shape_adaptor_network(model, (3, 32, 32), adaptors=2, last_size=12)
    placed = [name for name, m in network.named_modules() if isinstance(m, ShapeAdaptor2d)]
    assert placed == ["1.adaptor_1", "3.adaptor_1"]
    assert all(type(block.adaptor) is type(make()) for block in network.children() if isinstance(block, Named))
    images = torch.randn(1, 3, 32, 32)
    assert network(images).shape == (1, 8, 11, 11)  # rounded down twice
    assert not network.load_state_dict(model.state_dict(), strict=False).unexpected_keys
    copied = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    assert torch.equal(copied(images), network(images))
    assert torch.equal(dynpool.freeze(network)(images), network(images))


class Parallel(nn.Module):
    """Two parallel branches throughout: no position for an adaptor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        z = self.b(x)
        return y + z + self.c(y)


def patches() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (plain, {"mode": "auto"}, "mode='auto'"),
        (plain, {"parity": True}, "parity=True requires mode='autosc'"),
        (plain, {"mode": "autotl", "adaptors": 2}, "adaptors=2: expected None with mode='autotl'"),
        (plain, {"adaptors": 0}, "adaptors=0: expected an integer of at least 1"),
        (plain, {"adaptors": 6, "last_size": 12}, "adaptors=6: expected from 1 to 5"),
        (plain, {"last_size": 32}, "last_size=32: expected fewer pixels than the input has, 32"),
        (plain, {"last_size": 2}, "4 adaptors cannot resize 32 to 2 pixels"),
        (plain, {"mode": "autosc", "adaptors": 7}, "adaptors=7: expected from 1 to 5"),
        (plain, {"limit": 0}, "limit=0"),
        (Parallel, {}, "need a sequence of convolutions or blocks"),
        (patches, {"adaptors": 1, "last_size": 20}, "the stride of 0 .Conv2d. cannot be removed"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 4)), {}, "need a sequence of convolutions or blocks"),
        (lambda: dynpool.convert(plain(), (3, 32, 32)), {}, "already has learned resizers"),
    ],
)
def test_models_and_arguments_that_cannot_be_used_are_errors(
    model: Callable[[], nn.Module], arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        shape_adaptor_network(model(), (3, 32, 32), **arguments)


def test_only_modules_are_taken() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got str"):
        shape_adaptor_network("resnet50")  # type: ignore[arg-type]
