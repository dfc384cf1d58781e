"""Networks by name: the papers' variants for small images, and models of timm, torchvision or the user."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.analysis.integrations.named_models import error_summary, imported_object
from dynpool.common.arguments import check_flags, check_whole, is_whole
from dynpool.common.library_models import LIBRARIES, create_model, full_name
from dynpool.common.names import nearest

from .config_sections import ModelConfig
from .errors import ConfigError

__all__ = [
    "MODELS",
    "HRNetSegmentation",
    "build_model",
    "cifar_mobilenetv2",
    "cifar_resnet",
    "cifar_vgg16",
    "find_factory",
    "narrow_vgg",
]

GIVEN = ("num_classes", "in_channels")  # arguments that every factory is called with


def narrow_vgg(
    num_classes: int,
    in_channels: int = 3,
    *,
    widths: Sequence[int] = (16, 16, 32, 32, 64),
    pool: int = 2,
    batch_norm: bool = True,
) -> nn.Sequential:
    """A VGG with one 3x3 convolution, batch norm and ReLU per stage, max pooling between stages, one linear layer.

    Args:
        num_classes: outputs.
        in_channels: channels of the input.
        widths: channels of each stage; there is a pooling between each two stages.
        pool: window and stride of the pooling.
        batch_norm: whether a batch norm follows each convolution.
    """
    if not isinstance(widths, (list, tuple)) or not widths or not all(is_whole(w) and w > 0 for w in widths):
        raise ValueError(f"widths={widths!r}: expected a list of positive integers, one or more")
    check_whole(2, pool=pool)
    check_flags(batch_norm=batch_norm)
    layers: list[nn.Module] = []
    before = in_channels
    for stage, width in enumerate(widths):
        if stage:
            layers.append(nn.MaxPool2d(pool))
        layers.append(nn.Conv2d(before, width, 3, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm2d(width)] * batch_norm + [nn.ReLU(inplace=True)]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


def cifar_vgg16(num_classes: int, in_channels: int = 3) -> nn.Module:
    """VGG-16 with batch norm for small images: four max poolings instead of five and one linear layer."""
    import torchvision  # a second to import, as timm is: only when needed

    plan: list[str | int] = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]
    model = torchvision.models.VGG(torchvision.models.vgg.make_layers(plan, batch_norm=True), num_classes=num_classes)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = nn.Linear(512, num_classes)
    model.features[0] = _stem(model.features[0], in_channels)
    return model


def cifar_resnet(num_classes: int, in_channels: int = 3, *, depth: int = 50) -> nn.Module:
    """torchvision's ResNet of the given depth for small images: a 3x3 stem of stride 1 without pooling behind it."""
    import torchvision

    kinds = {d: getattr(torchvision.models, f"resnet{d}") for d in (18, 34, 50, 101, 152)}
    if not is_whole(depth) or depth not in kinds:
        raise ValueError(f"depth={depth!r}: expected one of {', '.join(map(str, kinds))}")
    model = kinds[depth](num_classes=num_classes)
    model.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
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


class HRNetSegmentation(nn.Module):
    """A high-resolution network (Sun et al., CVPR 2019) with its segmentation head: (N, C, H, W) to class scores.

    The maps of all branches are interpolated to the size of the first and concatenated; two 1x1 convolutions follow,
    the first with as many channels, batch norm and ReLU. Scores have the first branch's size, a quarter of the image's.

    Args:
        num_classes: channels of the scores.
        in_channels: channels of the image.
        backbone: timm's name of an HRNet.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, *, backbone: str = "hrnet_w48") -> None:
        import timm

        super().__init__()
        names = timm.list_models("hrnet*")
        if backbone not in names:
            raise ValueError(f"backbone={backbone!r}: expected an HRNet of timm{nearest(str(backbone), names)}")
        net = timm.create_model(backbone, in_chans=in_channels, num_classes=0)
        for unused in ("incre_modules", "downsamp_modules", "final_layer", "global_pool", "head_drop", "classifier"):
            delattr(net, unused)
        self.backbone = net
        width = sum(net.stage4_cfg["num_channels"])
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, num_classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        net = self.backbone
        x = net.act2(net.bn2(net.conv2(net.act1(net.bn1(net.conv1(x))))))
        first, *others = net.stages(x)
        others = [F.interpolate(y, first.shape[-2:], mode="bilinear", align_corners=False) for y in others]
        scores: Tensor = self.head(torch.cat([first, *others], dim=1))
        return scores


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


MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "narrow-vgg": narrow_vgg,
        "cifar-vgg16": cifar_vgg16,
        "cifar-resnet": cifar_resnet,
        "cifar-mobilenetv2": cifar_mobilenetv2,
        "hrnet-segmentation": HRNetSegmentation,
    }
)


def _library(name: str) -> Callable[..., nn.Module]:
    """The factory of a model of timm or torchvision."""
    try:
        name = full_name(name, "model.name", own=MODELS, classifiers=True)
    except ValueError as error:
        raise ConfigError(str(error)) from None

    def build(num_classes: int, in_channels: int, **options: Any) -> nn.Module:
        if name.startswith("timm:"):
            options["in_chans"] = in_channels
        elif in_channels != 3:
            raise ConfigError(
                f"model.name is {name!r}, which takes 3 channels, not {in_channels}: set data.channels: 3"
            )
        return create_model(name, num_classes=num_classes, **options)

    return build


def _imported(name: str) -> Callable[..., nn.Module]:
    try:
        factory: Callable[..., nn.Module] = imported_object(name, "model.name")
    except ValueError as error:
        raise ConfigError(str(error), "model.name") from error
    if not callable(factory):
        raise ConfigError(f"model.name is {name!r}, which is of type {type(factory).__name__}, not a callable")
    return factory


def find_factory(config: ModelConfig) -> Callable[..., nn.Module]:
    """The callable that `config` names, which builds the network.

    Raises:
        ConfigError: for an unknown name (the message gives the nearest), or arguments that, as far as the signature of
            the callable tells, it does not take.
    """
    prefix, colon, _ = config.name.partition(":")
    if config.name in MODELS:
        factory = MODELS[config.name]
    else:
        factory = (_imported if colon and prefix not in LIBRARIES else _library)(config.name)
    _check_names(config, factory)
    return factory


def _check_names(config: ModelConfig, factory: Callable[..., nn.Module]) -> None:
    for key in config.options:
        if key in GIVEN:
            raise ConfigError(f"model.options has {key!r}, which follows from the data: omit it")
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a callable written in C
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in GIVEN:
        if name not in parameters:
            called = f"it is called as {config.name.rpartition(':')[2]}({', '.join(f'{given}=...' for given in GIVEN)})"
            raise ConfigError(f"model.name is {config.name!r}, which does not take {name}: {called}", "model.name")
    known = [name for name in parameters if name not in GIVEN]
    for key in config.options:
        if key not in known:
            said = nearest(key, known) if known else "; it takes none"
            raise ConfigError(f"model.options has {key!r}, which {config.name!r} does not take{said}")


def build_model(config: ModelConfig, *, num_classes: int, in_channels: int) -> nn.Module:
    """The network that `config` names, with random weights from PyTorch's global generator.

    A factory is called as factory(num_classes=..., in_channels=..., **options). A name that both libraries have means
    timm's model, as in `dynpool.analysis.integrations.named_models`.

    Raises:
        ConfigError: as `find_factory` does, or for options that the factory rejects.
    """
    factory = find_factory(config)
    try:
        model = factory(num_classes=num_classes, in_channels=in_channels, **config.options)
    except ConfigError:
        raise
    except Exception as error:  # a factory may raise anything
        if config.name in MODELS and isinstance(error, (TypeError, ValueError)):
            raise ConfigError(f"model.options of {config.name!r}: {error}") from error
        raise ConfigError(f"model {config.name!r} with options {config.options}: {error_summary(error)}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model.name is {config.name!r}: it returned a {type(model).__name__}, not an nn.Module")
    return model
