"""VGGs and ResNets for small images have the layers, fields, widths and connections asked for."""

import math
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.training.small_image_models import cifar_resnet, cifar_vgg, cifar_vgg16

CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
IMAGENET: dict[str, Any] = {"stem": [7, 2], "first_pool": [3, 2]}


def on_meta(factory, **options):
    with torch.device("meta"):
        return factory(10, **options)


def vgg_fields(depth, poolings):
    """(kind, receptive field of the input) of each layer, by the recurrence r += (k - 1) * jump."""
    rows: list[tuple[type[nn.Module], int]] = []
    field, jump = 1, 1
    for stage, convs in enumerate(CONVS[depth], start=1):
        for _ in range(convs):
            rows.append((nn.Conv2d, field))
            field += 2 * jump
        if stage <= poolings:
            rows.append((nn.MaxPool2d, field))
            field += jump
            jump *= 2
    return rows


@pytest.mark.parametrize("depth", CONVS)
@pytest.mark.parametrize("poolings", [4, 5])
def test_vggs_have_the_convolutions_of_their_depth(depth, poolings):
    model = on_meta(cifar_vgg, depth=depth, poolings=poolings, width=16, in_channels=1)
    convs = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert len(convs) == depth - 3, "the original has three linear layers, this one has one"
    assert [conv.out_channels for conv in convs] == [
        width for width, n in zip((16, 32, 64, 128, 128), CONVS[depth], strict=True) for _ in range(n)
    ]
    assert convs[0].in_channels == 1
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.features) == poolings
    assert model(torch.zeros(2, 1, 32, 32, device="meta")).shape == (2, 10)


def test_vgg16_is_the_vgg_of_depth_16():
    assert str(on_meta(cifar_vgg16)) == str(on_meta(cifar_vgg, depth=16, width=64, poolings=4, pool=2))


def test_behind_the_border_layer_of_a_vgg_are_more_convolutions_the_deeper_it_is():
    behind: dict[int, list[int]] = {32: [], 64: []}
    for depth in CONVS:
        report = receptive_field(on_meta(cifar_vgg, depth=depth, poolings=5), (3, 32, 32))
        fields = vgg_fields(depth, 5)
        for side, counts in behind.items():
            unproductive = [i for i, (_, field) in enumerate(fields) if field >= side]
            assert report.unproductive_at(side) == tuple(report.layers[i].name for i in unproductive)
            counts.append(sum(fields[i][0] is nn.Conv2d for i in unproductive))
        assert report.border_layer == report.unproductive_at(32)[0]
    for counts in behind.values():
        assert counts == sorted(counts)
        assert counts[-1] > counts[0]
    assert all(large < small for small, large in zip(*behind.values(), strict=True)), "the border is deeper"


@pytest.mark.parametrize(
    ("factory", "options", "fields"),
    [  # Avendano's printed receptive fields, by the window and stride of the pooling behind the first convolution
        (
            cifar_vgg,
            {"depth": 11, "poolings": 5, "pool": 3},
            {(3, 2): 181, (5, 4): 359, (7, 6): 537, (9, 8): 715},
        ),
        (cifar_resnet, {"depth": 50}, {(4, 1): 110, (3, 2): 213, (4, 3): 318, (5, 4): 423}),
    ],
)
def test_the_first_pooling_sets_the_field_at_equal_parameters(factory, options, fields):
    parameters, borders = set(), []
    for window, field in fields.items():
        model = on_meta(factory, **options, first_pool=window)
        report = receptive_field(model, (3, 64, 64))
        assert report.i_max == (field, field)
        assert report.layers[-1].r_max == (field, field)
        parameters.add(report.total_parameters)
        borders.append(len(report.layers) - len(report.unproductive))
        assert model(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2, 10)
    assert len(parameters) == 1
    assert borders == sorted(borders, reverse=True), "a larger field has its border layer nearer to the image"
    assert borders[-1] < borders[0]


def test_a_resnet_can_have_torchvisions_own_stem():
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    ours = cifar_resnet(10, depth=18, **IMAGENET).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


def slow_resnet(model, x, cut):
    """The forward of a ResNet written out, without the connections of the blocks `cut`."""
    x = model.maxpool(model.bn1(model.conv1(x)).relu())
    blocks = [block for i in (1, 2, 3, 4) for block in model.get_submodule(f"layer{i}")]
    for number, block in enumerate(blocks, start=1):
        y = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
        if hasattr(block, "conv3"):
            y = block.bn3(block.conv3(y.relu()))
        if number not in cut:
            y = y + (x if block.downsample is None else block.downsample(x))
        x = y.relu()
    return model.fc(model.avgpool(x).flatten(1))


@pytest.mark.parametrize(("depth", "cut"), [(18, (1,)), (18, (3, 8)), (18, tuple(range(1, 9))), (50, (2, 4))])
def test_a_cut_block_is_its_layers_in_a_row(depth, cut):
    torch.manual_seed(0)
    whole = cifar_resnet(10, depth=depth, width=8).eval()
    straight = cifar_resnet(10, depth=depth, width=8, cut=list(cut)).eval()
    weights = whole.state_dict()
    gone = weights.keys() - straight.state_dict().keys()
    assert all(".downsample." in key for key in gone)
    straight.load_state_dict({key: value for key, value in weights.items() if key not in gone})
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(straight(images), slow_resnet(whole, images, cut))
    assert not torch.allclose(straight(images), whole(images))


def test_the_more_connections_are_cut_the_more_layers_are_unproductive():
    before: set[str] = set()
    for stages in range(5):
        cut = list(range(1, 2 * stages + 1))
        report = receptive_field(on_meta(cifar_resnet, depth=18, cut=cut, **IMAGENET), (3, 32, 32))
        after = {name for name in report.unproductive if "downsample" not in name}
        assert before <= after
        before = after
        assert report.i_max == (435, 435), "the longest path has no connection"
    assert all(row.r_min == row.r_max for row in report.layers), "only one path is left"
    assert report.border_layer == "layer1.1.conv2"


def test_width_scales_all_channels_and_weights_start_as_in_the_full_network():
    narrow: Any = cifar_resnet(10, depth=18, width=16)
    full = cifar_resnet(10, depth=18)
    for name, layer in full.named_modules():
        if isinstance(layer, nn.Conv2d):
            other = narrow.get_submodule(name)
            assert other.out_channels == layer.out_channels // 4
            assert other.weight.shape[1:] == ((layer.in_channels // 4 or 3), *layer.kernel_size)
    last = narrow.layer4[1].conv2.weight
    assert last.std().item() == pytest.approx(math.sqrt(2 / (9 * last.shape[0])), rel=0.02), "He et al., fan out"
    assert narrow.fc.in_features == 128
    assert narrow(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.usefixtures("undrawn_vgg")
def test_their_resizers_are_learnable():
    for model in (
        cifar_resnet(10, depth=18, width=8, cut=[3], first_pool=[3, 2]),
        cifar_vgg(10, depth=11, width=8, pool=3, first_pool=[5, 4]),
    ):
        sizes = dynpool.sizes(dynpool.convert(model, (3, 32, 32)), (3, 32, 32))
        assert min(sizes.values()) < (16, 16) < max(sizes.values()), sizes


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (cifar_vgg, {"depth": 12}, "depth=12: expected one of 11, 13, 16, 19"),
        (cifar_vgg, {"depth": True}, "depth=True: expected one of 11"),
        (cifar_vgg, {"poolings": 3}, "poolings=3: expected one of 4, 5"),
        (cifar_vgg, {"pool": 0}, "pool=0: expected an integer of at least 1"),
        (cifar_vgg, {"width": 0}, "width=0: expected an integer of at least 1"),
        (cifar_vgg, {"first_pool": 3}, "first_pool=3: expected [window, stride], two positive integers"),
        (cifar_vgg, {"first_pool": [3, 0]}, "first_pool=[3, 0]: expected [window, stride]"),
        (cifar_resnet, {"width": 2.5}, "width=2.5: expected an integer"),
        (cifar_resnet, {"stem": [3]}, "stem=[3]: expected [window, stride]"),
        (cifar_resnet, {"first_pool": ["a", 1]}, "first_pool=['a', 1]: expected [window, stride]"),
        (cifar_resnet, {"depth": 18, "cut": [9]}, "cut=[9]: expected a list of distinct block numbers from 1 to 8"),
        (cifar_resnet, {"depth": 18, "cut": [0]}, "cut=[0]: expected a list of distinct block numbers from 1 to 8"),
        (cifar_resnet, {"depth": 18, "cut": [2, 2]}, "cut=[2, 2]: expected a list of distinct block numbers"),
        (cifar_resnet, {"depth": 18, "cut": 2}, "cut=2: expected a list of distinct block numbers"),
    ],
)
def test_bad_options(factory, options, message):
    with pytest.raises((TypeError, ValueError)) as error:
        on_meta(factory, **options)
    assert message in str(error.value)
