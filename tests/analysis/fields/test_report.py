"""Receptive fields against the published table, against gradients, and against paths counted by hand."""

import math
from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from tests.analysis.fields.models import Block, build

# Richter and Pal, Table 7: I_min of unchanged architectures, as our rule and as the rule behind the table give it.
TABLE_7 = [
    *[(f"{lib}.densenet{n}", 224, 103, 103) for n in (121, 161, 169, 201) for lib in ("tv", "timm")],
    *[
        (f"{lib}.efficientnet_b{i}", res, 299, 299)
        for i, res in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
        for lib in ("tv", "timm")
    ],
    *[
        (f"{lib}.vgg{n}{norm}", 224, i_min, i_min)
        for n, i_min in ((11, 150), (13, 156), (16, 212), (19, 268))
        for lib, norm in (("tv", ""), ("tv", "_bn"), ("timm", ""))
    ],
    ("tv.mobilenet_v2", 224, 163, 163),
    ("timm.mobilenetv2_100", 224, 163, 163),
    *[(f"{lib}.resnet{n}", 224, 139, 139) for n in (18, 34) for lib in ("tv", "timm")],
    *[(f"{lib}.resnet{n}", 224, 75, 96) for n in (50, 101, 152) for lib in ("tv", "timm")],  # 96 in print
    *[(f"{lib}.convnext_{n}", 224, 224, 224) for n in ("tiny", "small", "base", "large") for lib in ("tv", "timm")],
    ("timm.convnext_xlarge", 224, 224, 224),
    ("tv.mnasnet1_0", 224, 283, 283),
    ("timm.inception_v3", 299, 239, 239),
    ("timm.mobilenetv1_100", 224, 315, 315),
    ("timm.mobilenetv3_large_100", 224, 263, 263),
    ("timm.mobilenetv3_small_100", 224, 303, 303),
    ("timm.legacy_xception", 299, 135, 135),
    ("timm.nasnetalarge", 331, 327, 327),
    ("tv.squeezenet1_0", 224, 67, 67),
    ("tv.squeezenet1_1", 227, 63, 63),
    ("timm.inception_resnet_v2", 299, 143, 143),
]


@pytest.mark.parametrize(("name", "i_res", "i_min", "i_min_table7"), TABLE_7, ids=[row[0] for row in TABLE_7])
def test_reproduces_the_published_table(name: str, i_res: int, i_min: int, i_min_table7: int) -> None:
    report = receptive_field(build(name), (3, i_res, i_res))
    assert report.i_min == (i_min, i_min)
    assert report.i_min_table7 == (i_min_table7, i_min_table7)
    assert report.not_understood == {}
    assert report.aligned == (name != "timm.nasnetalarge")  # its factorized reductions shift one path by a pixel


def test_regnet_by_hand() -> None:
    # a 3x3 stem with stride 2; 1x1 shortcuts with stride 2 open four stages; the last stage's 3x3 sees 2 * 32 more
    report = receptive_field(build("timm.regnetx_002"), (3, 224, 224))
    assert report.i_min == (3 + 2 * 32, 3 + 2 * 32)


def seen(model: nn.Module, channels: int, size: tuple[int, int]) -> tuple[int, int]:
    """Extent (height, width) of the pixels that an output pixel in the middle of the map depends on, by gradient."""
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    x = torch.ones(1, channels, *size, dtype=torch.float64, requires_grad=True)
    y = model.double()(x)
    y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
    assert x.grad is not None
    rows, columns = x.grad[0].abs().sum(0).nonzero(as_tuple=True)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, (1, 7)), nn.AvgPool2d((3, 2))],
        lambda: [nn.Conv2d(2, 4, 3, dilation=(2, 4)), nn.Conv2d(4, 4, 5, stride=(2, 3)), nn.Conv2d(4, 4, 3)],
        lambda: [nn.Conv2d(2, 4, 7, stride=2), nn.AvgPool2d(3, 2), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1)],
        lambda: [nn.Conv2d(2, 4, 3, padding=1), Block((2, 1)), Block((1, 2)), Block((2, 2))],
        lambda: [nn.Conv2d(2, 4, 2, stride=2), nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 2, 4, stride=2)],
    ],
    ids=["valid", "dilated", "strided", "residual", "transposed"],
)
def test_r_max_is_what_gradients_see(layers: Callable[[], list[nn.Module]]) -> None:
    model = nn.Sequential(*layers())
    report = receptive_field(model, (2, 121, 127))
    assert report.i_max == seen(model, 2, (121, 127))


def test_unproductive_underutilized_and_border_layer() -> None:
    # r: 3, 4, 8, 10, 18, 34 at strides 1, 2, 2, 4, 4, 4 with I_res 18
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 5, padding=2),
    )
    report = receptive_field(model, (3, 18, 18))
    assert [row.r_min[0] for row in report.layers] == [3, 4, 8, 10, 18, 34]
    assert report.underutilized == ("4", "5")
    assert report.unproductive == ("5",)
    assert report.border_layer == "5"
    for size in ((3, 18, 40), (3, 40, 18)):  # both axes must be covered
        assert receptive_field(model, size).underutilized == receptive_field(model, size).unproductive == ()
    assert receptive_field(model, (3, 40, 40)).border_layer is None


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "resnet50", "mobilenet_v2", "densenet121", "convnext_tiny"])
def test_conversion_that_preserves_the_function_preserves_the_fields(name: str) -> None:
    model = build(f"tv.{name}").to_empty(device="cpu")
    before = receptive_field(model, (3, 224, 224))
    converted = dynpool.convert(model, (3, 224, 224), preserve=True)
    assert receptive_field(converted, (3, 224, 224)).i_min == before.i_min
    assert receptive_field(dynpool.freeze(converted), (3, 224, 224)).i_min == before.i_min


def test_report_prints_and_exports() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, (3, 5), padding=(1, 2)), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
    report = receptive_field(model, (3, 7, 32))
    assert str(report) == (
        "layer  kind         kernel  stride  r_min  r_max  S  output    MACs  parameters\n"
        "0      convolution     3x5       1    3x5    3x5  1  8x7x32  80,640         368\n"
        "1      max_pool2d        2       2    4x6    4x6  2  8x3x16       0           0\n"
        "2      convolution       3       1   8x10   8x10  2  8x3x16  27,648         584\n"
        "I_min 8x10 (Table 7's rule: 8x10), I_max 8x10, I_res 7x32\n"
        "of 3 layers 0 unproductive, 0 underutilized\n"
        "in all 952 parameters, 108,288 MACs\n"
        "weights 3.81 kB, activations up to 14.5 kB in 1, for 1 image\n"
        "S: effective stride, the product of all strides so far; I_res: size of the input\n"
        "Table 7's rule: the largest max(r_min, kernel · S), as Table 7 of Richter and Pal has it"
    )
    plain = report.to_dict()
    assert plain["input_size"] == [3, 7, 32]
    assert plain["i_min"] == [8.0, 10.0]
    assert plain["layers"][0]["kernel"] == [3, 5]
    assert plain["border_layer"] is None


def test_bad_input() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got str"):
        receptive_field("resnet50", (3, 32, 32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input_size"):
        receptive_field(nn.Conv2d(3, 3, 3), (3, 0, 32))
    with pytest.raises(ValueError, match="cannot run at input_size"):
        receptive_field(nn.Conv2d(3, 3, 9), (3, 4, 4))
    report = receptive_field(nn.Conv2d(3, 3, 3), (3, 32, 32))
    for wrong in (32.5, 0, (32,), None):
        with pytest.raises(ValueError, match=r"i_res must be one or 2 ints of at least 1 \(one per axis\), got"):
            report.unproductive_at(wrong)  # type: ignore[arg-type]


# --- the longest local path -------------------------------------------------------------------------------------------


def test_the_published_field_of_efficientnet_b7() -> None:
    """Richter and Pal print 3079 pixels for EfficientNet-B7 at 600, squeeze-and-excitation left out."""
    with torch.device("meta"):
        model = timm.create_model("efficientnet_b7")
    report = receptive_field(model, (3, 600, 600))
    assert report.i_max_local == (3079.0, 3079.0)
    assert report.i_max == (math.inf, math.inf)
