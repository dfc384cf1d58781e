"""The networks have the forms that the papers use, and wrong names are refused."""

import pytest
import torch
from torch import nn

import dynpool
from dynpool.training.config_sections import ModelConfig
from dynpool.training.errors import ConfigError
from dynpool.training.models import build_model, narrow_vgg


def build(name, channels=3, **options):
    return build_model(ModelConfig(name, options), num_classes=10, in_channels=channels)


@pytest.mark.parametrize(
    ("name", "sizes", "gmacs"),
    [  # sizes and GMACs of the human-designed networks on CIFAR, as printed in Table 2 of Jang et al.
        ("cifar-vgg16", [32, 16, 8, 4, 2], 0.31),
        ("cifar-resnet", [32, 16, 8, 4], 1.31),
        ("cifar-mobilenetv2", [32, 16, 8, 4], 0.09),
    ],
)
def test_small_image_forms(name, sizes, gmacs):
    model = build(name)
    found = list(dict.fromkeys(h for h, _ in dynpool.sizes(model, (3, 32, 32)).values()))
    assert [h for h in found if h > 1] == sizes
    assert dynpool.count_macs(model, (3, 32, 32)).gmacs == pytest.approx(gmacs, rel=0.05)


def test_narrow_vgg():
    model = build("narrow-vgg", channels=1, widths=[4, 6, 8])
    assert sum(isinstance(m, nn.MaxPool2d) for m in model) == 2
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", ["cifar-vgg16", "cifar-resnet", "cifar-mobilenetv2"])
def test_other_input_channels(name):
    assert build(name, channels=1).eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_timm_torchvision_and_imports():
    assert build("timm:resnet10t", channels=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    assert build("torchvision:squeezenet1_1")(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    assert isinstance(build("dynpool.training.models:narrow_vgg"), nn.Module)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("narow-vgg", {}, "did you mean 'narrow-vgg'"),
        ("timm:resnet5O", {}, "no such model in timm; did you mean 'timm:resnet50'"),
        ("torchvision:resnet_18", {}, "no such model in torchvision; did you mean"),
        ("nowhere.at:all", {}, "model.name is 'nowhere.at:all': there is no module 'nowhere'"),
        ("resnet81", {}, "no such model in timm or torchvision; did you mean 'resnet18'"),
        ("narow-vgg", {}, "no such model in timm or torchvision; did you mean 'narrow-vgg'"),
        ("timm:resnet18", {"width": 3}, "model 'timm:resnet18' with options {'width': 3}: TypeError: "),
        ("math:pi", {}, "not a callable"),
        ("dynpool.training.models:nothing", {}, "no attribute"),
        ("builtins:dict", {}, "it returned a dict, not an nn.Module"),
        (
            "zzqqx",
            {},
            "no such model in timm or torchvision; timm.list_models() and torchvision",
        ),
        (
            "narrow-vgg",
            {"width": 3},
            "model.options has 'width', which 'narrow-vgg' does not take; did you mean 'widths'",
        ),
        ("cifar-vgg16", {"depth": 3}, "model.options has 'depth', which 'cifar-vgg16' does not take; it takes none"),
        ("dynpool.training.small_image_models:cifar_resnet", {"dept": 50}, "does not take; did you mean 'depth'"),
        (
            "fractions:Fraction",
            {},
            "model.name is 'fractions:Fraction', which does not take num_classes: it is called as "
            "Fraction(num_classes=..., in_channels=...)",
        ),
        (
            "narrow-vgg",
            {"widths": []},
            "model.options of 'narrow-vgg': widths=[]: expected a non-empty list of positive integers",
        ),
        ("narrow-vgg", {"widths": "x"}, "widths='x': expected a non-empty list of positive integers"),
        ("narrow-vgg", {"widths": [4, None]}, "widths=[4, None]: expected a non-empty list"),
        ("narrow-vgg", {"pool": "x"}, "pool='x': expected an integer of at least 2"),
        ("narrow-vgg", {"batch_norm": "x"}, "batch_norm='x': expected True or False"),
        (
            "torchvision:resnet18",
            {"num_classes": 3},
            "model.options has 'num_classes', which follows from the data: omit it",
        ),
        ("cifar-resnet", {"depth": 20}, "model.options of 'cifar-resnet': depth=20: expected one of 18, 34"),
        ("cifar-resnet", {"depth": [50]}, "depth=[50]: expected one of 18, 34"),
        ("hrnet-segmentation", {"backbone": "hrnet_w47"}, "expected an HRNet of timm; did you mean 'hrnet_w"),
    ],
)
def test_bad_models(name, options, message):
    with pytest.raises(ConfigError) as error:
        build(name, **options)
    assert message in str(error.value)
    assert ".py, line" not in str(error.value), "no line of this library is the user's code"


@pytest.mark.parametrize(("name", "library"), [("resnet10t", "timm"), ("shufflenet_v2_x0_5", "torchvision")])
def test_a_bare_name_is_that_of_a_library(name, library):
    assert type(build(name)) is type(build(f"{library}:{name}"))


def test_torchvision_models_take_colour():
    with pytest.raises(ConfigError, match=r"data\.channels: 3"):
        build("torchvision:resnet18", channels=1)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_narrow_vgg_has_the_axes_of_its_data(axes):
    model = narrow_vgg(5, 2, widths=(3, 4), axes=axes).eval()
    size = (2, 8, 6, 4)[: 1 + axes]
    assert model(torch.zeros(3, *size)).shape == (3, 5)
    assert dynpool.sizes(dynpool.convert(model, size), size) == {
        "input": size[1:],
        "3": tuple(n // 2 for n in size[1:]),
    }


@pytest.mark.parametrize("axes", [0, 4, True, "3", 1.0, [1]])
def test_a_narrow_vgg_of_other_axes_is_refused(axes):
    with pytest.raises(ConfigError, match=r"'narrow-vgg': axes=.*: expected a whole number from 1 to 3"):
        build("narrow-vgg", axes=axes)
