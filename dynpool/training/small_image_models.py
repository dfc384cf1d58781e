"""VGGs, ResNets and MobileNetV2 of torchvision in the forms for small images, and with other receptive fields."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from dynpool.common.arguments import check_whole, is_whole

__all__ = ["cifar_mobilenetv2", "cifar_resnet", "cifar_vgg", "cifar_vgg16"]

WIDTH = 64  # channels of the first stage of VGGs and ResNets
VGG_PLANS = {11: "A", 13: "B", 16: "D", 19: "E"}  # torchvision's names of the configurations
RESNETS = (18, 34, 50, 101, 152)


def cifar_vgg(
    num_classes: int,
    in_channels: int = 3,
    *,
    depth: int = 16,
    width: int = WIDTH,
    poolings: int = 4,
    pool: int = 2,
    first_pool: Sequence[int] | None = None,
) -> nn.Module:
    """VGG with batch norm for small images: four max poolings instead of five and one linear layer.

    With `depth=11, poolings=5, pool=3`, `first_pool` alone sets the receptive field, at equal parameters: [3, 2],
    [5, 4], [7, 6] and [9, 8] give 181, 359, 537 and 715 pixels, the fields of the VGGs of Avendano, *Receptive Field
    and Neural Networks Representations*. The work does not print its layers; up to a window of 11, no others give all
    four.

    Args:
        num_classes: outputs.
        in_channels: channels of the input.
        depth: 11, 13, 16 or 19.
        width: channels of the first stage; the others have 2, 4 and 8 times as many.
        poolings: 4, or 5 with one behind the last convolution as well.
        pool: window of the poolings, whose stride is 2.
        first_pool: [window, stride] of the first pooling; None: as the others.

    Raises:
        TypeError, ValueError: for an argument that is not allowed.
    """
    import torchvision  # a second to import, as timm is: only when needed

    _check_choice(depth=(depth, VGG_PLANS), poolings=(poolings, (4, 5)))
    check_whole(1, width=width, pool=pool)
    first = (pool, 2) if first_pool is None else _window("first_pool", first_pool)
    plan = torchvision.models.vgg.cfgs[VGG_PLANS[depth]]
    plan = [layer if layer == "M" else layer * width // WIDTH for layer in plan[: len(plan) + poolings - 5]]
    model = torchvision.models.VGG(torchvision.models.vgg.make_layers(plan, batch_norm=True), num_classes=num_classes)
    places = [i for i, layer in enumerate(model.features) if isinstance(layer, nn.MaxPool2d)]
    for place in places:
        model.features[place] = _max_pool(*(first if place == places[0] else (pool, 2)))
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = nn.Linear(8 * width, num_classes)
    model.features[0] = _stem(model.features[0], in_channels)
    return model


def cifar_vgg16(num_classes: int, in_channels: int = 3) -> nn.Module:
    """VGG-16 with batch norm for small images: four max poolings instead of five and one linear layer."""
    return cifar_vgg(num_classes, in_channels)


def cifar_resnet(
    num_classes: int,
    in_channels: int = 3,
    *,
    depth: int = 50,
    width: int = WIDTH,
    stem: Sequence[int] = (3, 1),
    first_pool: Sequence[int] | None = None,
    cut: Sequence[int] = (),
) -> nn.Module:
    """torchvision's ResNet of the given depth for small images: a 3x3 stem of stride 1 without pooling behind it.

    With depth 50, `first_pool` alone sets the receptive field, at equal parameters: [4, 1], [3, 2], [4, 3] and [5, 4]
    give 110, 213, 318 and 423 pixels, the fields of the ResNets of Avendano, *Receptive Field and Neural Networks
    Representations*. The work does not print its layers; up to a window of 8, no others give these fields.
    `stem=[7, 2], first_pool=[3, 2]` is torchvision's own ResNet.

    Args:
        num_classes: outputs.
        in_channels: channels of the input.
        depth: 18, 34, 50, 101 or 152.
        width: channels of the first stage; the others have 2, 4 and 8 times as many.
        stem: [kernel, stride] of the first convolution.
        first_pool: [window, stride] of a max pooling behind the first convolution; None: no pooling.
        cut: blocks without a residual connection, counted from 1 over all stages (ResNet-18 has 8); the projection of
            the connection, if there is one, goes with it. Richter et al., *Size Matters*, Table 2.

    Raises:
        TypeError, ValueError: for an argument that is not allowed.
    """
    import torchvision

    _check_choice(depth=(depth, RESNETS))
    check_whole(1, width=width)
    kernel, stride = _window("stem", stem)
    pool = nn.Identity() if first_pool is None else _max_pool(*_window("first_pool", first_pool))
    model: nn.Module = getattr(torchvision.models, f"resnet{depth}")(num_classes=num_classes)
    if width != WIDTH:
        _set_width(model, width)
    model.conv1 = nn.Conv2d(in_channels, width, kernel, stride, (kernel - 1) // 2, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = pool
    _cut_connections(model, cut)
    return model


def cifar_mobilenetv2(num_classes: int, in_channels: int = 3) -> nn.Module:
    """torchvision's MobileNetV2 for small images: stride 1 in the stem and in the stage of 24 channels."""
    import torchvision

    settings = [
        [1, 16, 1, 1],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    model = torchvision.models.MobileNetV2(num_classes=num_classes, inverted_residual_setting=settings)
    model.features[0][0].stride = (1, 1)
    model.features[0][0] = _stem(model.features[0][0], in_channels)
    return model


def _check_choice(**values: tuple[object, Any]) -> None:
    """Raise ValueError unless each named value is one of those allowed."""
    for name, (value, allowed) in values.items():
        if not is_whole(value) or value not in allowed:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(str, allowed))}")


def _window(name: str, value: object) -> tuple[int, int]:
    """(window, stride) of a pooling or a convolution, checked."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(is_whole(v) and v > 0 for v in value):
        return value[0], value[1]
    raise ValueError(f"{name}={value!r}: expected [window, stride], two positive integers")


def _max_pool(window: int, stride: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(window, stride, (window - 1) // 2)


def _stem(first: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    """The first convolution for another number of channels, initialised as torchvision does."""
    if in_channels == first.in_channels:
        return first
    stem = nn.Conv2d(
        in_channels,
        first.out_channels,
        3,
        stride=first.stride[0],
        padding=first.padding[0],
        bias=first.bias is not None,
    )
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    if stem.bias is not None:
        nn.init.zeros_(stem.bias)
    return stem


def _set_width(model: nn.Module, width: int) -> None:
    """Give torchvision's ResNet, behind its first convolution, other numbers of channels in proportion.

    Layers are initialised as torchvision does.
    """
    for name, layer in list(model.named_modules()):
        if name == "conv1":
            continue
        if isinstance(layer, nn.Conv2d):
            channels = layer.in_channels * width // WIDTH, layer.out_channels * width // WIDTH
            new: nn.Module = nn.Conv2d(*channels, layer.kernel_size, layer.stride, layer.padding, bias=False)  # type: ignore[arg-type]
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
        elif isinstance(layer, nn.BatchNorm2d):
            new = nn.BatchNorm2d(layer.num_features * width // WIDTH)
        elif isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features * width // WIDTH, layer.out_features)
        else:
            continue
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new)


def _cut_connections(model: nn.Module, cut: Sequence[int]) -> None:
    """Replace blocks of torchvision's ResNet, numbered from 1, by their layers in a row; names of weights stay."""
    stages = [model.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
    blocks = [(stage, name) for stage in stages for name, _ in stage.named_children()]
    given = isinstance(cut, (list, tuple)) and all(is_whole(c) and 0 < c <= len(blocks) for c in cut)
    if not given or len(set(cut)) < len(cut):
        raise ValueError(f"cut={cut!r}: expected a list of distinct block numbers from 1 to {len(blocks)}")
    for number in cut:
        stage, name = blocks[number - 1]
        block = stage.get_submodule(name)
        straight = nn.Sequential()
        for i in (1, 2, 3) if hasattr(block, "conv3") else (1, 2):
            straight.add_module(f"conv{i}", block.get_submodule(f"conv{i}"))
            straight.add_module(f"bn{i}", block.get_submodule(f"bn{i}"))
            straight.add_module(f"relu{i}", nn.ReLU(inplace=True))
        setattr(stage, name, straight)
