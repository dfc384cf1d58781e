"""MACs against PyTorch's FLOP counter and the printed table, and the loss against Eq. 7 and finite differences."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dynpool
from dynpool.training.models import MODELS

# GMACs and sizes (height, width) that the paper prints: Jang et al., CVPR 2022, Tables 1 to 3 and Figure 4.
PRINTED = """
vgg16 A 15.40 | vgg16 C 0.31 | vgg16 I 15.39
vgg16 A 13.90 114,142 52,53 30,19 17,7
vgg16 C 0.36 21,14 10,7 5,4 2,2
vgg16 I 10.16 88,87 40,37 24,23 12,12
vgg16 A 32.39 127,256 76,102 46,37 20,11
vgg16 C 1.71 37,32 21,18 12,9 7,4
vgg16 I 20.92 151,152 67,68 32,30 15,13
resnet50 A 4.12 | resnet50 C 1.31 | resnet50 I 4.11
resnet50 A 3.57 58,63 18,17 9,4 4,2
resnet50 C 1.01 10,9 5,4 2,2
resnet50 I 6.20 71,71 27,26 12,11 4,2
resnet50 A 38.53 225,210 68,66 16,17 4,4
resnet50 C 1.73 18,17 7,6 2,3
resnet50 I 12.80 102,99 43,41 16,17 4,4
mobilenetv2 A 0.33 | mobilenetv2 C 0.09 | mobilenetv2 I 0.31
mobilenetv2 A 0.34 98,119 39,42 36,18 21,9 12,4
mobilenetv2 C 0.08 13,13 6,6 4,4
mobilenetv2 I 0.49 111,111 55,50 32,27 20,16 9,7
mobilenetv2 A 2.35 181,150 132,174 87,80 51,36 22,13
mobilenetv2 C 0.21 22,21 12,12 7,7
mobilenetv2 I 1.16 181,171 95,93 53,53 31,29 10,10
"""
ROWS = [row.split() for line in PRINTED.strip().splitlines() for row in line.split("|")]


def backbone(name: str, dataset: str) -> nn.Module:
    if dataset == "C":
        return MODELS["cifar-resnet" if name == "resnet50" else f"cifar-{name}"](num_classes=100)
    if name == "vgg16":  # the papers' VGG-16 has one linear layer
        vgg = torchvision.models.vgg16_bn()
        return nn.Sequential(vgg.features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))
    return {"resnet50": torchvision.models.resnet50, "mobilenetv2": torchvision.models.mobilenet_v2}[name]()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:3]))
def test_printed_gmacs_of_the_paper(row: list[str]) -> None:
    name, dataset, printed = row[0], row[1], float(row[2])
    side = 32 if dataset == "C" else 224
    with torch.device("meta"):
        model = backbone(name, dataset)
    if len(row) > 3:
        model = dynpool.convert(model, (3, side, side))
        names = list(dynpool.resolutions(model))
        if name == "resnet50" and dataset != "C":
            names = names[1:]  # the stem's resolution, in which no layer works, is not printed
        sizes = {n: (int(s.split(",")[0]), int(s.split(",")[1])) for n, s in zip(names, row[3:], strict=False)}
        dynpool.set_sizes(model, sizes)
        found = dynpool.resolutions(model)
        assert {n: found[n].size for n in sizes} == sizes
    gmacs = dynpool.count_macs(model, (3, side, side)).gmacs
    assert gmacs == pytest.approx(printed, rel=0.13 if name == "mobilenetv2" else 0.025)


@pytest.mark.parametrize(
    "name",
    "vgg11 vgg16_bn resnet18 resnet50 resnet152 mobilenetv2_100 efficientnet_b0 tf_efficientnet_b3 densenet121 "
    "convnext_tiny regnetx_002 regnety_016".split(),
)
def test_half_of_the_flop_counter(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    report = dynpool.count_macs(model, (3, 224, 224))
    assert 2 * report.total == counter.get_total_flops()
    assert report.total == sum(layer.macs for layer in report.layers)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),  # valid: its map is two pixels smaller than its resolution
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def test_report_tells_layers_and_what_it_does_not_count() -> None:
    report = dynpool.count_macs(small(), (3, 32, 32))
    assert [(r.name, r.macs) for r in report.layers] == [
        ("0", 32 * 32 * 8 * 27),
        ("2", 14 * 14 * 8 * 72),
        ("3", 7 * 7 * 16 * 72),
        ("4", 7 * 7 * 16 * 144),
        ("7", 160),
    ]
    assert report.not_counted == {"aten.max_pool2d_with_indices": 1, "aten.mean": 1}
    assert "not counted" in str(report)
    assert report.to_dict()["total"] == report.total


@pytest.mark.parametrize("sizes", [{}, {"1": (13, 17)}, {"1": (20, 9), "3": (5, 11)}])
def test_loss_is_the_exact_count_at_the_sizes_in_use(sizes: dict[str, tuple[int, int]]) -> None:
    model = dynpool.convert(small(), (3, 32, 32))
    loss = dynpool.GMACsLoss(model, (3, 32, 32))
    dynpool.set_sizes(model, sizes)
    assert loss().item() == pytest.approx(dynpool.count_macs(model, (3, 32, 32)).gmacs, rel=1e-6)


def test_loss_is_eq_7_where_maps_are_their_resolution() -> None:
    model = dynpool.convert(MODELS["cifar-vgg16"](num_classes=10), (3, 32, 32))
    start = dynpool.count_macs(model, (3, 32, 32))
    loss = dynpool.GMACsLoss(model, (3, 32, 32))
    before = dynpool.sizes(model, (3, 32, 32))
    names = list(dynpool.resolutions(model))
    dynpool.set_sizes(model, dict(zip(names, [(21, 14), (10, 7), (5, 4), (3, 2)], strict=True)))
    after = dynpool.sizes(model, (3, 32, 32))
    expected, here = 0.0, "input"
    pools = iter(names)
    layers = {layer.name: layer.macs for layer in start.layers}
    for name, module in model.named_modules():
        if isinstance(module, dynpool.DynOPool2d):
            here = next(pools)
        elif name in layers and isinstance(module, nn.Conv2d):
            (h0, w0), (h, w) = before[here], after[here]
            expected += layers[name] * (h * w) / (h0 * w0)
        elif name in layers:
            expected += layers[name]
    assert loss().item() == pytest.approx(expected / 1e9, rel=1e-6)


@pytest.mark.parametrize("name", ["cifar-vgg16", "cifar-resnet", "cifar-mobilenetv2"])
def test_gradient_is_the_surrogates_finite_difference(name: str) -> None:
    model = dynpool.convert(MODELS[name](num_classes=10), (3, 32, 32))
    loss = dynpool.GMACsLoss(model, (3, 32, 32))
    alphas = [r.alpha for r in dynpool.resolutions(model).values()]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for alpha in alphas:
            alpha.copy_(1.2 + torch.rand(2, generator=generator))
    gradients = torch.autograd.grad(loss(), alphas)
    for alpha, gradient in zip(alphas, gradients, strict=True):
        for axis in (0, 1):
            step = torch.zeros(2)
            step[axis] = 2.0**-10  # exact in float32
            values = []
            with torch.no_grad():
                for sign in (1, -1, -1, 1):
                    alpha.add_(sign * step)
                    values.append(float(loss.surrogate()))
            slope = (values[0] - values[2]) / 2**-9
            assert float(gradient[axis]) == pytest.approx(slope, rel=1e-4)
            assert float(gradient[axis]) < 0


def test_loss_of_hand_placed_pools() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), dynpool.DynOPool2d((2.0, 1.6)), nn.Conv2d(4, 4, 3, padding=1))
    loss = dynpool.GMACsLoss(model, (3, 32, 32))()
    assert loss.item() * 1e9 == pytest.approx(32 * 32 * 4 * 27 + 16 * 20 * 4 * 36)
    (gradient,) = torch.autograd.grad(loss, [dynpool.resolutions(model)["1"].alpha])
    assert gradient.tolist() == pytest.approx([-16 * 20 * 4 * 36 / 2 / 1e9, -16 * 20 * 4 * 36 / 1.6 / 1e9])


def test_loss_needs_something_learned() -> None:
    with pytest.raises(ValueError, match="no learned resolution"):
        dynpool.GMACsLoss(small(), (3, 32, 32))
