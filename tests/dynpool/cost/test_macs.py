"""MACs against PyTorch's FLOP counter and the printed table, and the loss against Eq. 7 and finite differences."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision import models

import dynpool
from dynpool.analysis import IMinTracker, receptive_field
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


@pytest.mark.usefixtures("undrawn_vgg")
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


@pytest.mark.usefixtures("undrawn_vgg")
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


# --- what else is counted, and what a pass needs ----------------------------------------------------------------------


def test_work_of_a_recurrent_layer_follows_the_learned_width() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.layer = nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.LSTM(8, 16)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(self.pool(self.conv(x)).mean(2).permute(2, 0, 1))[0]
            return out

    learned = dynpool.convert(Reader(), (1, 16, 64))
    loss = dynpool.GMACsLoss(learned, (1, 16, 64))
    dynpool.set_sizes(learned, {"pool": (5, 20)})
    assert loss.cost.exact
    assert (
        loss.cost.macs() == dynpool.count_macs(learned, (1, 16, 64)).total == 16 * 64 * 8 * 9 + 20 * 4 * 16 * (8 + 16)
    )


def test_large_work_that_is_not_counted_stands_beside_the_total() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.fft.rfft2(self.c(x)).abs().flatten(2)
            return torch.cdist(y, y)

    report = dynpool.count_macs(Mixed(), (3, 16, 16))
    assert report.large_not_counted == ("aten._cdist_forward", "aten._fft_r2c")
    assert "GMACs, without aten._cdist_forward x1, aten._fft_r2c x1)" in str(report)
    assert report.to_dict()["large_not_counted"] == ["aten._cdist_forward", "aten._fft_r2c"]
    assert dynpool.count_macs(models.resnet18(), (3, 64, 64)).large_not_counted == ()


class Squeezes(nn.Module):
    """`squeeze()` takes the batch away if there is one image."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.bn = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.f(x).mean((2, 3), keepdim=True).squeeze())
        return out


class Clip(nn.Module):
    """Frames of a clip in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.f(x)
        return y.view(-1, 8, *y.shape[1:]).mean(1)


@pytest.mark.parametrize(("model", "batch"), [(Squeezes(), 2), (Clip(), 8)])
def test_models_that_need_more_than_one_image(model: nn.Module, batch: int, tmp_path: Path) -> None:
    size, model = (3, 32, 32), model.eval()
    for look in (dynpool.count_macs, dynpool.convert, dynpool.sizes, receptive_field):
        with pytest.raises(ValueError, match=r"tried with a batch of 1 image"):
            look(model, size)
    assert dynpool.count_macs(model, size, batch=batch).total == 16 * 16 * 8 * 27
    assert receptive_field(model, size, batch=batch).total_macs == 16 * 16 * 8 * 27
    assert dynpool.sizes(model, size, batch=batch) == {"input": (32, 32), "f": (16, 16)}
    IMinTracker(model, size, tmp_path / "log", batch=batch).log(0)
    learned = dynpool.convert(model, size, batch=batch)
    loss = dynpool.GMACsLoss(learned, size)
    dynpool.set_sizes(learned, {"f": (10, 20)})
    assert loss.cost.macs() == dynpool.count_macs(learned, size).total == 32 * 32 * 8 * 27
    assert IMinTracker(learned, size, tmp_path / "learned").log(0)["sizes"]["f"] == [10, 20]
    learned(torch.randn(batch, *size)).sum().backward()


def test_batch_is_checked() -> None:
    with pytest.raises(ValueError, match="batch must be a positive int, got 0"):
        dynpool.count_macs(Clip(), (3, 32, 32), batch=0)


def test_complex_weights_and_indices() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))
            self.c = nn.Conv2d(4, 4, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.einsum("oc,nchw->nohw", self.w, torch.fft.rfft2(x))
            out: Tensor = self.c(torch.fft.irfft2(y, s=x.shape[-2:]))
            return out

    assert dynpool.count_macs(Spectral(), (3, 16, 16)).by_layer["c"] == 8 * 8 * 4 * 36
    wave = nn.Conv2d(3, 4, 3, dtype=torch.complex64)
    assert dynpool.count_macs(wave, (3, 16, 16)).total == 3 * 14 * 14 * 4 * 27  # of real numbers, as PyTorch runs it

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e, self.c = nn.Embedding(50, 6), nn.Conv1d(6, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.c(self.e(x[:, 0]).mT)
            return out

    assert dynpool.count_macs(Words(), (1, 20)).total == 18 * 4 * 18


@pytest.mark.parametrize("look", [dynpool.count_macs, dynpool.convert, dynpool.sizes, receptive_field])
def test_what_cannot_be_traced_says_what_to_do(look: Any) -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3, 2)))
    with pytest.raises(ValueError, match="is a ScriptModule, which cannot be traced: give its original"):
        look(scripted, (3, 16, 16))
    lazy = nn.Sequential(nn.LazyConv2d(4, 3, 2), nn.LazyBatchNorm2d())
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet: run the Sequential once on a real input first"):
        look(lazy, (3, 16, 16))
    assert isinstance(lazy[0], nn.LazyConv2d)


def test_long_lists_of_operations_are_folded() -> None:
    class Wordy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for name in "sin cos tan exp log sqrt abs neg floor ceil".split():
                x = getattr(torch, name)(x)
            return torch.sin(x)

    report = dynpool.count_macs(Wordy(), (3, 8, 8))
    assert len(report.not_counted) == 10
    assert str(report).endswith(
        "not counted: aten.abs x1, aten.ceil x1, aten.cos x1, aten.exp x1, aten.floor x1, aten.log x1, aten.neg x1, "
        "aten.sin x2 and 2 others (see not_counted)"
    )


def test_macs_by_operator() -> None:
    report = dynpool.count_macs(small(), (3, 32, 32))
    assert report.by_operator == {"aten.convolution": report.total - 160, "aten.addmm": 160}
    assert report.to_dict()["by_operator"] == report.by_operator


@pytest.mark.parametrize("look", [dynpool.count_macs, dynpool.convert, receptive_field])
def test_a_size_with_a_batch_gets_a_hint(look: Any) -> None:
    for size in ((1, 3, 32, 32), (2, 1, 3, 32, 32)):
        hint = f"no batch dimension: should it be {size[1:]}?"
        with pytest.raises(ValueError, match=re.escape(hint)):
            look(small(), size)


def test_dtype_is_that_of_the_inputs() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.c = nn.Parameter(torch.zeros(10, 6)), nn.Conv1d(6, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.c(self.w[x[:, 0]].mT)
            return out

    with pytest.raises(ValueError, match="the model cannot run"):
        dynpool.count_macs(Table(), (1, 20))
    assert dynpool.count_macs(Table(), (1, 20), dtype=torch.long).total == 18 * 4 * 18
    assert receptive_field(Table(), (1, 20), dtype=torch.long).total_macs == 18 * 4 * 18
    with pytest.raises(ValueError, match=r"dtype must be a torch\.dtype, got 'long'"):
        dynpool.count_macs(Table(), (1, 20), dtype="long")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dtype is torch\.int64, but inputs are given"):
        dynpool.count_macs(Table(), inputs=torch.zeros(1, 1, 20).long(), dtype=torch.long)


def test_a_loss_built_under_inference_mode_has_a_gradient() -> None:
    model = dynpool.convert(nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 3)), (3, 16, 16))
    with torch.inference_mode():
        loss = dynpool.GMACsLoss(model, (3, 16, 16))
    loss().backward()
    (resizer,) = dynpool.resolutions(model).values()
    assert resizer.alpha.grad is not None
    assert (resizer.alpha.grad < 0).all()
