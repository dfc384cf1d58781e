"""Receptive fields against the published table, against gradients, and against paths counted by hand."""

import math
from collections.abc import Callable
from typing import Literal

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.analysis import receptive_field
from dynpool.analysis.fields.compile import compile_fields
from dynpool.graph.tracer import trace
from dynpool.resolution.tree import resolution_tree
from dynpool.size_math import effective_kernel

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


def build(name: str) -> nn.Module:
    """A model by library and name, without memory for its weights."""
    lib, _, model = name.partition(".")
    with torch.device("meta"):
        return getattr(torchvision.models, model)() if lib == "tv" else timm.create_model(model)


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


class Block(nn.Module):
    """A residual block whose shortcut is a strided 1x1 convolution."""

    def __init__(self, stride: tuple[int, int]) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(4, 4, (3, 5), padding=(1, 2), groups=4), nn.Conv2d(4, 4, 3, stride=stride, padding=1)
        )
        self.short = nn.Conv2d(4, 4, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.short(x))


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


def test_r_min_is_the_shortest_path_and_r_max_the_longest() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), Block((2, 2)), Block((1, 1)))
    rows = {row.name: row for row in receptive_field(model, (2, 64, 64)).layers}
    # along the height: 3, then the main path adds 2 + 2 (stride 2 in its last layer), the shortcut nothing
    assert rows["1.main.1"].r_min == (7, 9)
    assert rows["1.short"].r_min == (3, 3)
    assert rows["2.short"].r_min_in == (3, 3)
    assert rows["2.main.1"].r_min == (3 + 2 * 4, 3 + 2 * 6)
    assert rows["2.main.1"].r_max == (7 + 2 * 4, 9 + 2 * 6)
    assert rows["2.main.1"].effective_stride == (2, 2)
    assert rows["1.main.0"].kernel == (3, 5)
    assert rows["1.main.1"].shape == (1, 4, 32, 32)


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(self.last(x).mean((2, 3)))


def test_a_global_path_is_infinite_and_never_the_minimum() -> None:
    report = receptive_field(SqueezeExcite(), (3, 32, 32))
    assert [row.name for row in report.layers] == ["stem", "last"]
    assert report.i_min == (5, 5)
    assert report.layers[0].r_max == (3, 3)
    assert report.i_max == (math.inf, math.inf)


class RowMean(nn.Module):
    """Means over the rows alone, so that the width stays local."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.after = nn.Conv2d(4, 4, (1, 5), padding=(0, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.before(x).mean(2, keepdim=True))


def test_one_axis_may_be_global_alone() -> None:
    report = receptive_field(RowMean(), (3, 32, 32))
    assert report.layers[1].r_min == (math.inf, 7)
    assert report.i_min == (3, 7)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        tokens = x.flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return self.last(x + (weights @ tokens).transpose(1, 2).reshape(x.shape))


def test_attention_is_global_beside_its_shortcut() -> None:
    report = receptive_field(Attention(), (3, 32, 32))
    assert report.layers[0].r_max == (4, 4)
    assert report.layers[1].r_min == (4 + 2 * 4, 4 + 2 * 4)
    assert report.layers[1].r_max == (math.inf, math.inf)


class WeightedAttention(nn.Module):
    """Attention among the pixels of a map and a class token; `weigh` may write to the map of products."""

    def __init__(self, weigh: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.keys = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.weigh = weigh

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        tokens = torch.cat([self.token, x.flatten(2).transpose(1, 2)], 1)
        products = tokens @ self.keys(tokens).transpose(1, 2)
        self.weigh(products)
        return self.last((products.softmax(-1) @ tokens)[:, 1:].transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize(
    "weigh",
    [
        lambda products: None,
        lambda products: products[:, 1:].mul_(2),
        lambda products: products[:, :, 1:].mul_(2),
        lambda products: products[:, 1:, 1:].mul_(2),
        lambda products: products[:, 1:, 1:].copy_(products[:, 1:, 1:] * 2),
    ],
    ids=["nothing", "rows", "columns", "both", "copied"],
)
def test_writes_to_an_attention_map_leave_its_queries_apart(weigh: Callable[[Tensor], object]) -> None:
    row = receptive_field(WeightedAttention(weigh), (3, 32, 32)).layers[-1]
    assert row.r_min == (4 + 2 * 4, 4 + 2 * 4)
    assert row.effective_stride == (4, 4)
    assert row.centre == (1.5, 1.5)
    assert row.r_max == (math.inf, math.inf)


class ChannelsLastBlock(nn.Module):
    """A linear layer over the pixels of a map, a convolution after it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 4, stride=4)
        self.linear = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.linear(self.down(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [(4, 4), (4, 12), (12, 4), (16, 16)])
def test_a_linear_layer_over_a_map_of_one_pixel_is_as_one_over_many(size: tuple[int, int]) -> None:
    assert receptive_field(ChannelsLastBlock(), (3, *size)).layers[-1].r_min == (4 + 2 * 4, 4 + 2 * 4)


def test_a_transposed_map_keeps_its_axes_apart() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, (5, 1), stride=(2, 1), padding=(2, 0))
            self.b = nn.Conv2d(4, 4, (3, 1), padding=(1, 0))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).transpose(2, 3))

    report = receptive_field(Transposed(), (3, 32, 48))
    assert report.layers[1].r_min == (5, 3)
    assert report.layers[1].kernel == (1, 3)
    assert report.layers[1].effective_stride == (2, 1)


def test_a_resizer_on_a_transposed_map_keeps_its_axes_apart() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = dynpool.DynOPool2d((3.0, 1.5))  # of the map's rows, which run along the image's width

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x.transpose(2, 3))

    row = receptive_field(Transposed(), (3, 30, 60)).layers[0]
    assert row.shape == (1, 3, 20, 20)
    assert row.stride == (30 / 20, 60 / 20)
    assert row.kernel == (effective_kernel(30, 20), effective_kernel(60, 20))


def test_a_weight_made_from_the_image_sees_all_of_it() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 3, 3, 3))
            self.last = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.conv2d(x, self.weight * x.mean((2, 3)).reshape(3, 1, 1, 1), padding=1))

    report = receptive_field(Dynamic(), (3, 16, 16))
    assert [row.r_min[0] for row in report.layers] == [3, 5]
    assert report.layers[1].r_max == (math.inf, math.inf)


def test_a_convolution_over_the_whole_map_is_a_linear_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 8, 8), nn.Conv2d(8, 8, 1))
    assert [row.name for row in receptive_field(model, (3, 16, 16)).layers] == ["0"]
    assert [row.name for row in receptive_field(model, (3, 18, 18)).layers] == ["0", "1", "2"]


def test_interpolation_sees_its_neighbours_and_shrinks_the_stride() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 4, 3)
    )
    rows = receptive_field(model, (3, 65, 65)).layers
    assert [row.r_min[0] for row in rows] == [3, 5, 7]
    assert rows[1].effective_stride == (1, 1)


def test_branches_of_different_stride_are_not_aligned() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.b = nn.Conv2d(3, 4, 17)  # the same size at 32 pixels, at another stride

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    report = receptive_field(Mixed(), (3, 32, 32))
    assert not report.aligned
    assert "not aligned" in str(report)
    assert receptive_field(Block((2, 2)), (4, 32, 32)).aligned


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


def test_repeated_and_functional_layers_have_names_of_their_own() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(F.max_pool2d(self.conv(x), 2))

    assert [row.name for row in receptive_field(Shared(), (3, 16, 16)).layers] == ["conv", "max_pool2d", "conv#2"]


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize(("size", "alpha"), [(64, 2.0), (30, 2.3), (33, 1.4), (21, 0.7), (40, 3.7)])
def test_a_resizer_has_its_footprint_for_a_kernel_and_a_real_stride(
    size: int, alpha: float, reduce: Literal["max", "mean"]
) -> None:
    pool = dynpool.DynOPool2d(alpha, reduce=reduce)
    report = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), pool, nn.Conv2d(1, 1, 3)), (1, size, size))
    out = dynpool.dynopool2d(torch.zeros(1, 1, size, size), alpha).shape[-1]
    row = report.layers[1]
    assert (row.kind, row.kernel[0]) == ("dynopool2d", effective_kernel(size, out))
    assert row.stride == (size / out, size / out)
    assert row.r_min[1] == 3 + row.kernel[1] - 1
    assert report.i_min[0] == pytest.approx(row.r_min[0] + 2 * size / out)


def test_a_sample_sees_one_pixel_where_positions_are_whole_and_else_two() -> None:
    for size, kernel in ((32, 1), (31, 2)):
        report = receptive_field(dynpool.DynOPool2d(2.0, reduce="sample"), (1, size, size))
        assert report.layers[0].kernel == (kernel, kernel)


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "resnet50", "mobilenet_v2", "densenet121", "convnext_tiny"])
def test_conversion_that_preserves_the_function_preserves_the_fields(name: str) -> None:
    model = build(f"tv.{name}").to_empty(device="cpu")
    before = receptive_field(model, (3, 224, 224))
    converted = dynpool.convert(model, (3, 224, 224), preserve=True)
    assert receptive_field(converted, (3, 224, 224)).i_min == before.i_min
    assert receptive_field(dynpool.freeze(converted), (3, 224, 224)).i_min == before.i_min


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize(
    "name", ["tv.resnet18", "tv.densenet121", "timm.efficientnet_b0", "timm.vgg11", "tv.convnext_tiny"]
)
def test_a_program_follows_the_sizes_without_a_new_trace(name: str, order: Literal["after", "before"]) -> None:
    model = dynpool.convert(build(name).to_empty(device="cpu"), (3, 128, 96), order=order)
    program = compile_fields(graph := trace(model, (3, 128, 96)))
    generator = torch.Generator().manual_seed(0)
    tree = resolution_tree(model)
    assert tree is not None
    for _ in range(3):
        with torch.no_grad():
            for resolution in dynpool.resolutions(model).values():
                resolution.alpha.mul_(0.8 + 0.5 * torch.rand(2, generator=generator))
        fresh = receptive_field(model, (3, 128, 96))
        now = program.fields(graph.axis_sizes(tree.sizer((128, 96))))
        assert now.i_min == fresh.i_min
        assert now.i_min_table7 == fresh.i_min_table7
        assert now.i_max == fresh.i_max
        assert now.unproductive == fresh.unproductive
        assert now.underutilized == fresh.underutilized


def test_report_prints_and_exports() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, (3, 5), padding=(1, 2)), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
    report = receptive_field(model, (3, 7, 32))
    assert str(report) == (
        "layer  kind         kernel  stride  r_min  r_max  S  output\n"
        "0      convolution     3x5       1    3x5    3x5  1  8x7x32\n"
        "1      max_pool2d        2       2    4x6    4x6  2  8x3x16\n"
        "2      convolution       3       1   8x10   8x10  2  8x3x16\n"
        "I_min 8x10 (Table 7's rule: 8x10), I_max 8x10, I_res 7x32\n"
        "of 3 layers 0 unproductive, 0 underutilized"
    )
    plain = report.to_dict()
    assert plain["input_size"] == [3, 7, 32]
    assert plain["i_min"] == [8.0, 10.0]
    assert plain["layers"][0]["kernel"] == [3, 5]
    assert plain["border_layer"] is None


def test_operations_without_a_rule_are_named_and_end_what_can_be_said() -> None:
    class Inverted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.last = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.linalg.inv(self.first(x)))

    report = receptive_field(Inverted(), (3, 16, 16))
    assert report.not_understood == {"aten.linalg_inv_ex": 1}
    assert "operations without a rule: aten.linalg_inv_ex x1" in str(report)
    assert [row.name for row in report.layers] == ["first"]
    assert report.i_min == (3, 3)


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


class SqueezeExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.conv = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())


def test_a_path_through_a_global_operation_is_left_out_of_the_local_maximum() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), SqueezeExcitation(), nn.Conv2d(4, 4, 5, padding=2))
    report = receptive_field(net, (3, 32, 32))
    rows = {row.name: row for row in report.layers}
    assert rows["0"].r_max_local == rows["0"].r_max == (3.0, 3.0)
    assert rows["1.conv"].r_max_local == (7.0, 7.0)  # 3 + 2 * 2
    assert rows["1.conv"].r_max == (math.inf, math.inf)
    assert [rows[name].has_global_path for name in ("0", "1.conv", "2")] == [False, True, True]
    assert (report.i_max_local, report.i_max) == ((15.0, 15.0), (math.inf, math.inf))
    text = str(report)
    assert "I_max 15*, I_res 32" in text
    assert "* another path runs through a global operation" in text
    assert " inf" not in text
    assert report.to_dict()["i_max_local"] == [15.0, 15.0]
    assert report.to_dict()["layers"][1]["r_max_local"] == [7.0, 7.0]


def test_without_a_global_path_the_two_maxima_are_one() -> None:
    report = receptive_field(torchvision.models.resnet18(), (3, 64, 64))
    assert report.i_max_local == report.i_max == (435.0, 435.0)
    assert "*" not in str(report)


def test_the_published_field_of_efficientnet_b7() -> None:
    """Richter and Pal print 3079 pixels for EfficientNet-B7 at 600, squeeze-and-excitation left out."""
    with torch.device("meta"):
        model = timm.create_model("efficientnet_b7")
    report = receptive_field(model, (3, 600, 600))
    assert report.i_max_local == (3079.0, 3079.0)
    assert report.i_max == (math.inf, math.inf)
