"""Conversion: what becomes of each resizer, that names and functions are kept, and that freezing undoes it."""

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.training.models import MODELS

FAMILIES = [
    ("timm", "vgg11", 5, 0),
    ("timm", "resnet18", 5, 3),
    ("timm", "resnet26d", 5, 3),
    ("timm", "mobilenetv2_100", 5, 0),
    ("timm", "tf_efficientnet_b0", 5, 0),
    ("timm", "convnext_atto", 4, 0),
    ("timm", "regnetx_002", 5, 4),
    ("torchvision", "resnet50", 5, 3),
    ("torchvision", "mobilenet_v2", 5, 0),
    ("torchvision", "efficientnet_b0", 5, 0),
    ("torchvision", "densenet121", 5, 0),
    ("torchvision", "convnext_tiny", 4, 0),
    ("torchvision", "regnet_x_400mf", 5, 4),
]
SMALL = ["resnet18", "mobilenetv2_100", "tf_efficientnet_b0", "densenet", "convnext_atto", "regnetx_002"]


def small(name: str) -> nn.Module:
    if name == "densenet":
        return timm.models.DenseNet(block_config=(2, 2, 2, 2), num_classes=4)
    return timm.create_model(name, num_classes=4)


def make(library: str, name: str) -> nn.Module:
    return timm.create_model(name) if library == "timm" else getattr(torchvision.models, name)()


@pytest.mark.parametrize(("library", "name", "converted", "tied"), FAMILIES)
def test_every_resizer_of_the_families_is_converted(library: str, name: str, converted: int, tied: int) -> None:
    model = make(library, name)
    learned = dynpool.convert(model, (3, 224, 224))
    report = dynpool.conversion_report(learned)
    assert (len(report.of("converted")), len(report.of("tied"))) == (converted, tied)
    assert all(row.why == "its output size is fixed" for row in report.of("left alone"))
    assert not report.of("pinned")
    assert not report.not_understood
    assert dynpool.sizes(learned, (3, 224, 224)) == dynpool.sizes(model, (3, 224, 224))
    new = set(learned.state_dict()) - set(model.state_dict())
    assert not set(model.state_dict()) - set(learned.state_dict())
    assert len(new) == converted
    assert all(key.endswith("alpha") for key in new)


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("name", SMALL)
def test_maps_have_the_trees_sizes_and_gradients_reach_every_alpha(name: str, order: str) -> None:
    torch.manual_seed(0)
    model = dynpool.convert(small(name), (3, 96, 96), order=order)  # type: ignore[arg-type]
    with torch.no_grad():
        for resolution in dynpool.resolutions(model).values():
            resolution.alpha.mul_(torch.empty(2).uniform_(0.7, 1.4))
    seen: dict[str, tuple[int, ...]] = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda m, a, y, path=path: seen.update({path: tuple(y.shape[-2:])}))
    model(torch.randn(2, 3, 96, 80)).square().sum().backward()
    sizes = dynpool.sizes(model, (3, 96, 80))
    assert {n: seen[n] for n in sizes if n != "input"} == {n: s for n, s in sizes.items() if n != "input"}
    gradients = [r.alpha.grad for r in dynpool.resolutions(model).values()]
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize("name", SMALL)
def test_preserve_keeps_the_function(name: str) -> None:
    torch.manual_seed(0)
    model = small(name).eval()
    kept = dynpool.convert(model, (3, 128, 128), preserve=True)
    x = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected = model(x)
        assert (kept(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("hw", [(9, 9), (11, 13), (14, 9)])
def test_resolutions_start_as_they_were_where_the_structure_shows_at_a_double_of_the_size(hw, order):
    layers = [nn.Conv2d(3, 4, 3, 2, 1), *(nn.Conv2d(4, 4, 3, 2, 1) for _ in range(2)), nn.Conv2d(4, 4, 2)]
    model = nn.Sequential(*layers)  # the last map has an axis of a single pixel
    kept = dynpool.convert(model, (3, *hw), preserve=True, order=order)
    assert dynpool.sizes(kept, (3, *hw)) == dynpool.sizes(model, (3, *hw))
    x = torch.randn(2, 3, *hw)
    torch.testing.assert_close(kept(x), model(x))


@pytest.mark.parametrize("name", SMALL)
def test_freeze_gives_a_plain_model_of_equal_outputs(name: str) -> None:
    torch.manual_seed(0)
    model = small(name)
    learned = dynpool.convert(model, (3, 96, 96)).eval()
    first = next(iter(dynpool.resolutions(learned)))
    dynpool.set_sizes(learned, {first: (41, 52)})
    plain = dynpool.freeze(learned)
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        live = learned(x)
        torch.testing.assert_close(plain(x), live, rtol=1e-4, atol=1e-5 * float(live.abs().max()))
    assert set(plain.state_dict()) == set(model.state_dict())
    assert not any(isinstance(m, dynpool.DynOPool2d) for m in plain.modules())
    assert len(dynpool.resolutions(learned)) > 0  # the live model is untouched


def test_mode_dtype_and_the_original_are_kept() -> None:
    model = timm.create_model("resnet18").to(torch.bfloat16).eval()
    model.layer1.train()
    before = copy.deepcopy(model.state_dict())
    learned = dynpool.convert(model, (3, 64, 64))
    assert [m.training for n, m in learned.named_modules() if n in dict(model.named_modules())] == [
        m.training for m in model.modules()
    ]
    assert not learned.get_submodule("layer2.0.conv1.resize").training
    assert learned.get_parameter("conv1.weight").dtype == torch.bfloat16
    assert model.conv1.stride == (2, 2)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert learned(torch.zeros(1, 3, 64, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_weights_load_before_and_after() -> None:
    torch.manual_seed(0)
    trained, fresh = (timm.create_model("resnet18", num_classes=4).eval() for _ in range(2))
    x = torch.randn(1, 3, 64, 64)
    late = dynpool.convert(fresh, (3, 64, 64))
    missing = late.load_state_dict(trained.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(k.endswith("alpha") for k in missing.missing_keys)
    assert torch.equal(late(x), dynpool.convert(trained, (3, 64, 64))(x))


def test_one_pixel_maps_are_traced_larger_and_start_at_two_pixels() -> None:
    learned = dynpool.convert(timm.create_model("resnet18"), (3, 32, 32))
    assert [r.size for r in dynpool.resolutions(learned).values()] == [(16, 16), (8, 8), (4, 4), (2, 2), (2, 2)]
    assert learned.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


class Pinned(nn.Module):
    """A learned resolution, then one that a position table pins."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.table = nn.Parameter(torch.zeros(1, 4, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pool(x)) + self.table


def test_a_pinned_resolution_keeps_its_size_and_the_rest_learns() -> None:
    learned = dynpool.convert(Pinned(), (3, 32, 32))
    rows = {r.name: (r.status, r.why) for r in dynpool.conversion_report(learned).rows}
    assert rows["pool"][0] == "converted"
    assert rows["conv"][0] == "pinned"
    assert "parameter" in rows["conv"][1]
    dynpool.set_sizes(learned, {"pool": (13, 21)})
    assert learned(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 8, 8)
    assert "pinned" in str(dynpool.conversion_report(learned))


class Functional(nn.Module):
    """A pool by the bare operator, which nothing can stand in for."""

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = torch.ops.aten.avg_pool2d(x, [2, 2])
        return pooled


def test_what_cannot_be_converted_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 32, 32))
    with pytest.raises(ValueError, match="not a known kind of resizer"):
        dynpool.convert(Functional(), (3, 32, 32))
    with pytest.raises(ValueError, match="already"):
        dynpool.convert(dynpool.convert(nn.Sequential(nn.MaxPool2d(2)), (3, 32, 32)), (3, 32, 32))
    with pytest.raises(TypeError, match="model"):
        dynpool.convert("resnet18", (3, 32, 32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order"):
        dynpool.convert(Functional(), (3, 32, 32), order="behind")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot run at"):
        dynpool.convert(nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2)), (3, 2, 2))
    with pytest.raises(ValueError, match="freeze needs a model with learned sizes"):
        dynpool.freeze(Functional())
    with pytest.raises(ValueError, match=r"not made by dynpool\.convert"):
        dynpool.conversion_report(Functional())


def test_resolution_trees_of_the_small_image_forms() -> None:
    expected = {
        "cifar-vgg16": [(16, 16), (8, 8), (4, 4), (2, 2)],
        "cifar-resnet": [(16, 16), (8, 8), (4, 4)],
        "cifar-mobilenetv2": [(16, 16), (8, 8), (4, 4)],
    }
    for name, sizes in expected.items():
        model = dynpool.convert(MODELS[name](num_classes=10), (3, 32, 32))
        assert [r.size for r in dynpool.resolutions(model).values()] == sizes


# --- the sizes are those of the input converted for -------------------------------------------------------------------


class PadCrop(nn.Module):
    """Pads its input to a multiple of 4 and crops its output to the input's size, as restoration networks do."""

    def __init__(self, *, skip: bool) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 2, 2), nn.ConvTranspose2d(8, 3, 2, 2)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        y = self.up(self.down(F.pad(x, (0, -w % 4, 0, -h % 4))))[..., :h, :w]
        return x + y if self.skip else y


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("hw", [(32, 32), (30, 30), (29, 31), (34, 34), (7, 50)])
def test_what_the_model_pads_at_this_size_is_kept(hw: tuple[int, int], order: Any, skip: bool) -> None:
    torch.manual_seed(0)
    model, size = PadCrop(skip=skip).eval(), (3, *hw)
    learned = dynpool.convert(model, size, order=order, preserve=True)
    assert dynpool.sizes(learned, size)["down"] == dynpool.sizes(model, size)["down"]
    x = torch.randn(2, *size)
    torch.testing.assert_close(learned(x), model(x))
    torch.testing.assert_close(dynpool.freeze(learned)(x), model(x))


class Fraction(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.pool(x))


@pytest.mark.parametrize("scale", [1.5, 1.7, 0.3, 2.0])
def test_a_fractional_scale_factor_is_floored_at_every_size(scale: float) -> None:
    learned = dynpool.convert(Fraction(scale), (3, 30, 40))
    for size in ((15, 20), (14, 19), (16, 33), (7, 9)):
        dynpool.set_sizes(learned, {"pool": size})
        out = learned(torch.zeros(1, 3, 30, 40))
        assert dynpool.sizes(learned, (3, 30, 40))["up"] == tuple(out.shape[-2:])
